package config

import (
	"os"
	"path/filepath"
)

// BinaryReplaced reports whether the path by which this process was started now leads
// to a different file than the one it runs. That is so after an upgrade: the process
// runs the old program until it is restarted. It returns false if the system does not
// tell which file a process runs.
func BinaryReplaced() bool {
	running, err := os.Stat("/proc/self/exe") // the file itself, even if it was deleted
	if err != nil {
		return false
	}
	name := os.Args[0]
	if !filepath.IsAbs(name) {
		if name, err = os.Executable(); err != nil {
			return false
		}
	}
	present, err := os.Stat(name)
	return err != nil || !os.SameFile(running, present)
}

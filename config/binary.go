package config

import (
	"os"
	"path/filepath"
)

// BinaryReplaced reports whether the name under which this process was started
// leads to another file than the one that it runs, which is so after an upgrade:
// the process then goes on with the old program until it is restarted. It reports false
// where the system does not tell which file a process runs.
func BinaryReplaced() bool {
	running, err := os.Stat("/proc/self/exe") // the file itself, even without a name
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

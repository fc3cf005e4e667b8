package config

import "runtime/debug"

// version is set by the linker in builds that name their version themselves:
// -ldflags "-X secmsg/config.version=v1.2.3".
var version string

// Version names the build: the version that the linker set, otherwise the version of
// the module, otherwise the revision of the checkout, with "+dirty" for local changes,
// otherwise "devel". Commands and daemon tell each other their versions.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	var revision, modified string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			modified = s.Value
		}
	}
	if revision == "" {
		return "devel"
	}
	v := "devel-" + revision[:min(len(revision), 12)]
	if modified == "true" {
		v += "+dirty"
	}
	return v
}

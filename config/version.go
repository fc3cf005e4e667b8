package config

import "runtime/debug"

// version is set by the linker in builds that name their version themselves:
// -ldflags "-X secmsg/config.version=v1.2.3".
var version string

// Version names the build: what the linker was told, or the module's version if it was installed by one,
// else the revision of the checkout with "+dirty" for local changes, else "devel".
// Both sides of the local socket tell it.
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

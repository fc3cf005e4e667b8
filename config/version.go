package config

import "runtime/debug"

// Version names the build: the module's version if it was installed by one,
// else the revision of the checkout with "+dirty" for local changes, else "devel".
// Both sides of the local socket tell it.
func Version() string {
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

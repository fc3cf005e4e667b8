// Package config reads the configuration of the client and of the server: a
// YAML file, environment variables SECMSG_* and explicit values such as flags
// that were given. It is the only importer of viper. Unknown keys, values of
// the wrong kind and broken rules are all reported at once. It keeps no state.
package config

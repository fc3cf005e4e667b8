// Command frozen makes a copy of a small realm as a released version left it: the server's directory, the profiles of two
// people, and the output of commands that read them. The copies in testdata are never made again; a test opens each of
// them with the present program and compares what it shows. So an upgrade from every released version is tested.
//
//	go run ./scripts/frozen testdata/vX.Y.Z.zip     # once, at the tag, from its tree
package main

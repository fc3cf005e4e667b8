//go:build !unix

package main

// exactStdfds means that closedAtStart is certain.
const exactStdfds = false

// closedAtStart reports nothing: on this platform a write to a closed handle fails.
func closedAtStart() stdfds { return stdfds{} }

//go:build !unix

package main

// exactStdfds says that closedAtStart tells for certain.
const exactStdfds = false

// closedAtStart reports nothing here: a write to a closed handle fails by itself.
func closedAtStart() stdfds { return stdfds{} }

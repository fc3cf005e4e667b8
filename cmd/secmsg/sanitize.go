package main

import "secmsg/rpc/local/screen"

// visible makes untrusted text safe for one line of a terminal.
func visible(s string) string { return screen.Line(s) }

// visibleBlock is visible for text that may take several lines.
func visibleBlock(s string) string { return screen.Block(s) }

// escapeFormat makes a line of JSON safe for a terminal without changing its value.
func escapeFormat(b []byte) []byte { return screen.JSON(b) }

// Command termsvg plays scripts/demo with real processes and draws parts of what
// it printed as scripts/demo.svg, the picture of a terminal in the README.
//
// Ids, times, keys, numbers and ports differ with each run and are replaced by
// fixed ones, so that the picture changes only when commands or their output do.
// Commands are shown with the name of the person who gives them as the prompt
// instead of --home. The picture is static and needs no fonts from elsewhere.
package main

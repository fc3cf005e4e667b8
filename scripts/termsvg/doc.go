// Command termsvg runs scripts/demo with real processes and draws parts of its output as
// scripts/demo.svg, the picture of a terminal in the README.
//
// Ids, times, keys, numbers and ports differ with each run and are replaced by fixed ones, so that the
// picture changes only when commands or their output do. The prompt of a command shows the name of its
// user instead of --home. The picture is static and needs no external fonts.
package main

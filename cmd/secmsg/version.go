package main

import (
	"runtime"

	"secmsg/config"

	"github.com/spf13/cobra"
)

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary",
		Args:  argsBetween(0, 0),
		RunE:  func(*cobra.Command, []string) error { return runVersion(a) },
	}
}

func runVersion(a *app) error {
	v := config.Version()
	if a.json() {
		return a.printJSON(struct {
			Version string `json:"version"`
			Go      string `json:"go"`
			OS      string `json:"os"`
			Arch    string `json:"arch"`
		}{v, runtime.Version(), runtime.GOOS, runtime.GOARCH})
	}
	return a.printf("secmsg %s %s %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

package lab

import (
	"flag"
	"fmt"
	"strconv"
)

// ParallelTests lets n tests of the calling package run at the same time, unless the command line has
// -parallel. It is for packages whose tests wait for other processes more than they work; Go's default,
// one test for each core, would leave the cores idle. TestMain calls it before it runs the tests.
func ParallelTests(n int) error {
	flag.Parse()
	const name = "test.parallel"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return nil
	}
	if err := flag.Set(name, strconv.Itoa(n)); err != nil {
		return fmt.Errorf("set -parallel: %w", err)
	}
	return nil
}

//go:build !unix

// Command revocation needs shared memory and signals that stop a process.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "revocation: not on this system: it stops processes with SIGSTOP")
	os.Exit(1)
}

//go:build !unix

package pgtest

import (
	"errors"
	"os"
	"os/exec"
)

// No private servers here: the guard needs a shell, and pausing needs SIGSTOP. AUTHZ_TEST_POSTGRES_DSN works everywhere.
const canStart = false

var sigStop, sigCont os.Signal = os.Kill, os.Kill // never sent: canStart

func detach(*exec.Cmd)      {}
func asUser(*exec.Cmd)      {}
func giveAway(string) error { return nil }

func traversable(...string) (string, error) {
	return "", errors.New("pgtest: no private servers on this system")
}

//go:build unix

package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

const (
	canStart = true
	sigStop  = syscall.SIGSTOP
	sigCont  = syscall.SIGCONT
)

// detach gives cmd a session of its own, so that Ctrl-C does not end a server before the tests that use it.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// unprivileged returns the user whom servers run as if we are root, which both PostgreSQL and PgBouncer refuse to be.
var unprivileged = sync.OnceValues(func() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody")
})

func asUser(cmd *exec.Cmd) {
	if c, err := unprivileged(); err == nil {
		cmd.SysProcAttr.Credential = c
	}
}

// giveAway makes the file that user's.
func giveAway(name string) error {
	c, err := unprivileged()
	if c == nil {
		return err
	}
	return os.Chown(name, int(c.Uid), int(c.Gid))
}

// traversable returns the first of dirs that the servers' user can reach: as root, our own $TMPDIR may be closed to it.
func traversable(dirs ...string) (string, error) {
	if os.Geteuid() != 0 {
		return dirs[0], nil
	}
next:
	for _, dir := range dirs {
		for d := dir; ; d = filepath.Dir(d) {
			fi, err := os.Stat(d)
			if err != nil || fi.Mode().Perm()&0o001 == 0 {
				continue next
			}
			if d == filepath.Dir(d) {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("pgtest: none of %v can be entered by a user who is not root: set TMPDIR to a folder that can", dirs)
}

//go:build unix

package main

import (
	"testing"

	"github.com/seed-926035fd/authz/internal/pgtest"
)

func TestExitCode(t *testing.T) {
	t.Setenv(pgtest.EnvDSN, pgtest.DSN(t)) // so that run starts no server
	for _, tt := range []struct {
		script string
		want   int
	}{
		{"true", 0},
		{"exit 7", 7},
		{"kill -KILL $$", 128 + 9},
		{`test -n "$AUTHZ_TEST_POSTGRES_DSN"`, 0},
	} {
		if got := run([]string{"--", "sh", "-c", tt.script}); got != tt.want {
			t.Errorf("%s: exit code %d, want %d", tt.script, got, tt.want)
		}
	}
	if got := run([]string{"no-such-command"}); got != 127 {
		t.Errorf("a command that does not exist: exit code %d, want 127", got)
	}
	if got := run(nil); got != 2 {
		t.Errorf("no command: exit code %d, want 2", got)
	}
}

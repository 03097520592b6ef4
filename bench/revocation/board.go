//go:build unix

package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// board is memory that all processes of a run share: what is told and written down
// there takes no time of what is measured, as pipes would.
type board struct {
	words  []atomic.Int64
	nodes  int
	tokens int
	told   *atomic.Int64  // how many lines of log are in use
	log    []atomic.Int64 // revoked tokens whose latency is measured: their number + 1, in order
	begun  []atomic.Int64 // by token: somebody has begun to revoke it
	// By token: when the call that revoked it had returned. All times are of now.
	revoked []atomic.Int64
	at      []nodeBoard
}

// nodeBoard is what one node writes down.
type nodeBoard struct {
	accepted []atomic.Int64 // by token: when the last Verify began that accepted it although it was revoked
	refused  []atomic.Int64 // by token: when the first Verify returned that refused it
	counts   []atomic.Int64
}

// What a node counts.
const (
	verified    = iota // by the load, of live tokens
	read               // of these, by reading the store
	wrong              // live tokens that were refused
	failed             // Verify calls that ended with another error
	unrevoked          // revocations that failed, and were tried again
	ownAccepted        // revoked tokens that the process that had revoked them accepted once more
	alive              // revoked tokens that were accepted at the end
	gap                // the longest time, in ns, between two looks at the log: what the machine adds to a latency
	counters
)

func boardWords(nodes, tokens int) int { return 1 + 3*tokens + nodes*(2*tokens+counters) }

// openBoard maps the file at path, which it creates with make.
func openBoard(path string, nodes, tokens int, make bool) (*board, error) {
	flags := os.O_RDWR
	if make {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n := boardWords(nodes, tokens)
	if make {
		if err := f.Truncate(int64(n) * 8); err != nil {
			return nil, err
		}
	}
	mem, err := syscall.Mmap(int(f.Fd()), 0, n*8, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	words := unsafe.Slice((*atomic.Int64)(unsafe.Pointer(&mem[0])), n)
	b := &board{words: words, nodes: nodes, tokens: tokens}
	take := func(n int) (part []atomic.Int64) {
		part, words = words[:n:n], words[n:]
		return part
	}
	b.told = &take(1)[0]
	b.log, b.begun, b.revoked = take(tokens), take(tokens), take(tokens)
	for range nodes {
		b.at = append(b.at, nodeBoard{take(tokens), take(tokens), take(counters)})
	}
	return b, nil
}

func (b *board) close() {
	_ = syscall.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(&b.words[0])), len(b.words)*8))
}

func (b *board) tell(token int) { b.log[b.told.Add(1)-1].Store(int64(token) + 1) }

// now is the same clock in all processes of a machine, and nobody sets it.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}

//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is a node as its parent sees it.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	orders *json.Encoder
	lines  chan string
}

// startNode starts this program again. Its end is the end of its stdin, which comes
// with ours, however that is.
func startNode(j job, stderr io.Writer) (*process, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(self), lines: make(chan string)}
	p.cmd.Env = append(os.Environ(), nodeVariable+"="+string(text))
	p.cmd.Stderr = stderr
	// Ctrl-C is for the parent alone. And if the parent is killed while a node is
	// stopped, the kernel ends the node: it hangs up on stopped groups that nobody owns.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.orders = json.NewEncoder(p.stdin)
	go func() {
		defer close(p.lines)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	return p, nil
}

func (p *process) signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// do gives an order and waits until it is done.
func (p *process) do(ctx context.Context, o order) error {
	if err := p.orders.Encode(o); err != nil {
		return fmt.Errorf("a node has ended: %w", err)
	}
	select {
	case line, ok := <-p.lines:
		var r reply
		switch {
		case !ok:
			return errors.New("a node has ended")
		case json.Unmarshal([]byte(line), &r) != nil:
			return fmt.Errorf("a node says %q", line)
		case r.Error != "":
			return errors.New(r.Error)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// closeAll ends nodes, and returns when none is left.
func closeAll(nodes []*process) {
	for _, p := range nodes {
		_ = p.signal(syscall.SIGCONT)
		_ = p.stdin.Close()
		kill := time.AfterFunc(10*time.Second, func() { _ = p.signal(syscall.SIGKILL) })
		defer kill.Stop()
	}
	for _, p := range nodes {
		for range p.lines { // until it has closed its own
		}
		_ = p.cmd.Wait()
	}
}

// all gives an order to all nodes at once.
func all(ctx context.Context, nodes []*process, o order) error {
	errs := make(chan error, len(nodes))
	for _, p := range nodes {
		go func() { errs <- p.do(ctx, o) }()
	}
	var first error
	for range nodes {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

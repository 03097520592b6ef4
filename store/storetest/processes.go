package storetest

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// Processes says how [RunProcesses] runs. Fresh and Open are required; a size
// of zero means the default.
type Processes struct {
	// Fresh makes a fresh, empty database, in the parent process, and returns
	// what Open needs to reach it.
	Fresh func(t *testing.T) (dsn string)
	// Open opens the database, in each process, and closes it by t.Cleanup.
	Open func(t *testing.T, dsn string) store.Store

	// Processes defaults to 4.
	Processes int
	// Goroutines in each process default to 8, to 64 with AUTHZ_TEST_FULL=1.
	Goroutines int
	// Keys default to 40, to 200 with AUTHZ_TEST_FULL=1.
	Keys int
}

// RunProcesses tests that the store keeps the contract of get-or-create when
// true processes share it. It starts the test binary again, several times, with
// nothing but the test that called it; so that test must call RunProcesses
// unconditionally, and once:
//
//	func TestProcesses(t *testing.T) {
//		storetest.RunProcesses(t, storetest.Processes{
//			Fresh: func(t *testing.T) string { return filepath.Join(t.TempDir(), "test.db") },
//			Open:  func(t *testing.T, dsn string) store.Store { return mustOpen(t, dsn) },
//		})
//	}
//
// In every process each goroutine asks for every key; every second key is
// deleted now and then, by all of them. At the end the answers of all processes
// must add up to what is left in the store: each ID created once, deleted at
// most once, a key that nobody deletes created once and seen under one ID, and
// no error anywhere.
func RunProcesses(t *testing.T, p Processes) {
	if text, ok := os.LookupEnv(jobVariable); ok {
		p.work(t, text)
		return
	}
	goroutines, keys := 8, 40
	if os.Getenv("AUTHZ_TEST_FULL") == "1" {
		goroutines, keys = 64, 200
	}
	j := job{DSN: p.Fresh(t), Goroutines: cmp.Or(p.Goroutines, goroutines), Keys: cmp.Or(p.Keys, keys)}
	results := runJobs(t, t.Name(), j, cmp.Or(p.Processes, 4))
	j.check(t, p.Open(t, j.DSN), results)
}

// IsProcess reports whether this process was started by [RunProcesses]. A
// TestMain that starts a server must not do so then: the parent's is there.
func IsProcess() bool {
	_, ok := os.LookupEnv(jobVariable)
	return ok
}

const (
	// jobVariable holds the job of a process, as JSON.
	jobVariable = "AUTHZ_STORETEST_JOB"
	// What a process says on its standard output, beside what testing prints.
	readyLine    = "storetest: ready"
	resultPrefix = "storetest: result "
)

// job is what a process has to do.
type job struct {
	DSN        string
	Process    int
	Goroutines int
	Keys       int
}

// result is what a process saw.
type result struct {
	Created []int64       // one for each answer that said created
	Deleted []int64       // one for each Delete that succeeded
	Kept    map[int]int64 // the ID of each key that nobody deletes
	Faults  []string      // errors that reached a caller, and wrong answers: the first few
	Count   int           // how many Faults there were
}

// work is a process. It waits for the others before it begins.
func (p Processes) work(t *testing.T, text string) {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		t.Fatalf("%s: %v", jobVariable, err)
	}
	s := p.Open(t, j.DSN)
	fmt.Println(readyLine)
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		t.Fatalf("the parent has gone: %v", err)
	}
	out, err := json.Marshal(j.do(t.Context(), s))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s%s\n", resultPrefix, out)
}

// deletable reports whether key is one of those that are deleted now and then.
func deletable(key int) bool { return key%2 == 1 }

// key returns the record that identifies a key. All have one owner in common
// with few others, so that a List sees several.
func (j job) key(k int) store.Key {
	return store.Key{Owner: fmt.Sprint("owner ", k/8), ClientID: "app", Fingerprint: fmt.Sprint("key ", k)}
}

// do does the job.
func (j job) do(ctx context.Context, s store.Store) result {
	parts := make([]result, j.Goroutines)
	together(j.Goroutines, func(g int) {
		r := &parts[g]
		r.Kept = make(map[int]int64)
		fault := func(format string, args ...any) {
			if r.Count++; r.Count <= 3 {
				r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
			}
		}
		for i := range j.Keys {
			k := (i + 3*j.Process) % j.Keys // all goroutines of a process meet at a key
			key := j.key(k)
			c := candidate(key.Owner, key.ClientID, key.Fingerprint, fmt.Sprintf("token %d of goroutine %d of process %d", k, g, j.Process))
			rec, created, err := s.GetOrCreate(ctx, c)
			if err != nil {
				fault("GetOrCreate = error %v; a race is no error", err)
				continue
			}
			if rec.Key != key || (rec.TokenHash == c.TokenHash) != created {
				fault("GetOrCreate(%+v) = a record of key %+v, ours %t, created %t; created means that the record is the candidate of this call",
					key, rec.Key, rec.TokenHash == c.TokenHash, created)
			}
			if created {
				r.Created = append(r.Created, rec.ID)
			}
			if !deletable(k) {
				r.Kept[k] = rec.ID
			} else if (g+i+j.Process)%3 == 0 {
				if err := s.Delete(ctx, key.Owner, rec.ID); err == nil {
					r.Deleted = append(r.Deleted, rec.ID)
				} else if !errors.Is(err, store.ErrNotFound) {
					fault("Delete = error %v, want nil or ErrNotFound", err)
				}
			}
			if (g+i)%8 == 0 {
				page, err := s.List(ctx, store.Query{Owner: key.Owner, Limit: 100})
				if err != nil {
					fault("List = error %v", err)
				}
				seen := make(map[store.Key]int64)
				for _, rec := range page {
					if seen[rec.Key] != 0 {
						fault("List holds IDs %d and %d for one key; at any time there is at most one record for a key", seen[rec.Key], rec.ID)
					}
					seen[rec.Key] = rec.ID
				}
			}
		}
	})
	all := result{Kept: make(map[int]int64)}
	for _, r := range parts {
		all.merge(r)
	}
	return all
}

// merge adds what another saw to what r saw.
func (r *result) merge(other result) {
	r.Created = append(r.Created, other.Created...)
	r.Deleted = append(r.Deleted, other.Deleted...)
	r.Count += other.Count
	r.Faults = append(r.Faults, other.Faults...)
	for k, id := range other.Kept {
		if seen, ok := r.Kept[k]; ok && seen != id {
			r.Count++
			r.Faults = append(r.Faults, fmt.Sprintf("key %d, which nobody deletes, was seen under the IDs %d and %d; all callers must see one", k, seen, id))
		}
		r.Kept[k] = id
	}
	r.Faults = r.Faults[:min(len(r.Faults), 10)]
}

// check compares what all processes saw with what is left.
func (j job) check(t tb, s store.Store, results []result) {
	t.Helper()
	all := result{Kept: make(map[int]int64)}
	for _, r := range results {
		all.merge(r)
	}
	for _, fault := range all.Faults {
		t.Errorf("%s", fault)
	}
	if n := all.Count - len(all.Faults); n > 0 {
		t.Errorf("and %d more", n)
	}
	var left []int64
	kept := make(map[int]int64)
	for k := range j.Keys {
		n := 0
		for _, rec := range owned(t, s, j.key(k).Owner) {
			if rec.Key == j.key(k) {
				left = append(left, rec.ID)
				n++
				if !deletable(k) {
					kept[k] = rec.ID
				}
			}
		}
		if n > 1 || n == 0 && !deletable(k) {
			t.Errorf("%d records are left for key %d", n, k)
		}
	}
	if !maps.Equal(kept, all.Kept) {
		t.Errorf("the keys that nobody deletes have IDs %v, callers saw %v", kept, all.Kept)
	}
	l := ledger{created: all.Created, deleted: all.Deleted}
	l.check(t, left)
	if log, ok := t.(interface{ Logf(string, ...any) }); ok {
		log.Logf("%d processes, %d goroutines each, %d keys: %d created, %d deleted, %d left", len(results), j.Goroutines, j.Keys, len(l.created), len(l.deleted), len(left))
	}
}

// runJobs runs n processes that do j in the test called name, and returns what
// they saw.
func runJobs(t *testing.T, name string, j job, n int) []result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // none outlives the test
	defer cancel()
	children := make([]*child, n)
	for i := range children {
		j.Process = i
		children[i] = startChild(t, ctx, name, j)
	}
	for i, c := range children {
		if _, err := c.await(readyLine); err != nil {
			t.Fatalf("process %d did not get ready: %v", i, err)
		}
	}
	for _, c := range children { // all are there: go
		if _, err := io.WriteString(c.stdin, "go\n"); err != nil {
			t.Fatal(err)
		}
	}
	results := make([]result, n)
	for i, c := range children {
		text, err := c.await(resultPrefix)
		if err == nil {
			err = json.Unmarshal([]byte(text), &results[i])
		}
		if err != nil {
			t.Fatalf("process %d gave no result: %v", i, err)
		}
	}
	return results
}

// child is a running process.
type child struct {
	stdin  io.WriteCloser
	lines  *bufio.Reader
	seen   strings.Builder // what it printed, for messages
	stderr strings.Builder
	wait   func() error
}

// startChild starts a process that does j. It ends with the test at the latest.
func startChild(t *testing.T, ctx context.Context, name string, j job) *child {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		parts = append(parts, "^"+regexp.QuoteMeta(part)+"$")
	}
	cmd := exec.CommandContext(ctx, program, "-test.run="+strings.Join(parts, "/"), "-test.count=1", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	c := &child{}
	cmd.Stderr = &c.stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewReader(stdout)
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.wait = cmd.Wait
	t.Cleanup(func() {
		_ = c.stdin.Close()
		if c.wait != nil {
			_, _ = io.Copy(io.Discard, c.lines)
			_ = c.wait()
		}
	})
	return c
}

// await reads what the process prints until a line that begins with prefix,
// and returns the rest of that line.
func (c *child) await(prefix string) (string, error) {
	for {
		line, err := c.lines.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return rest, nil
		}
		c.seen.WriteString(line)
		if err != nil {
			err = errors.Join(err, c.wait())
			c.wait = nil
			return "", fmt.Errorf("%w; it printed:\n%s%s", err, c.seen.String(), c.stderr.String())
		}
	}
}

package authz_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/seed-926035fd/authz"

// mayImport is what the non-test code of each package may import beyond the standard library. "./x" is package x of this
// module; a name stands for the packages below it too, except "." and "./store", which stand for themselves alone.
// A package takes the entry of its name, or else of the nearest folder above it. One with no entry fails: decide, then add it.
var mayImport = map[string][]string{
	".":                {"./store", "github.com/google/uuid"},
	"store":            {}, // the contract: no one who implements it links more than the standard library
	"store/storetest":  {"./store"},
	"store/memory":     {"./store"},
	"store/internal":   {"./store", "./store/internal", "./internal/migrate", "./internal/sqlerr"},
	"store/sqlite":     {"./store", "./store/internal", "./internal/migrate", "./internal/sqlerr", "modernc.org/sqlite"},
	"store/postgres":   {"./store", "./store/internal", "./internal/migrate", "./internal/sqlerr", "github.com/lib/pq"},
	"authztest":        {".", "./store/memory", "github.com/google/uuid"}, // for the tests of hosts
	"cache":            {".", "./store", "github.com/maypok86/otter/v2"},
	"internal/migrate": {"./store", "./internal/sqlerr"},
	"internal/sqlerr":  {}, // by the methods of errors: no driver
	"account":          {".", "./store", "./internal/migrate", "./internal/sqlerr", "golang.org/x/crypto", "github.com/pquerna/otp"},
	"client":           {"github.com/google/uuid"}, // not ".": a command-line tool links no server
	"cmd":              {".", "./cache", "./store", "./store/memory", "./store/sqlite", "./store/postgres", "./account", "./internal", "github.com/spf13/cobra", "golang.org/x/term", "github.com/lib/pq", "modernc.org/sqlite"},
	"internal/pgtest":  {"./internal/pgtest", "github.com/lib/pq"},
	"docs/backend":     {"./store", "./store/memory"}, // the example of a fourth backend
	"scripts":          {},
}

// noHTTP lists what serves any store, and so must not know the network side.
var noHTTP = []string{"store", "internal/migrate", "internal/sqlerr"}

// testSupport may be imported by tests only (and by the commands below internal/pgtest).
var testSupport = []string{"./store/storetest", "./internal/pgtest"}

// mayRequire is all that go.mod may require directly. Tools and peers for tests belong to the modules in examples/ and bench/.
var mayRequire = []string{
	"github.com/google/uuid",
	"github.com/lib/pq",
	"github.com/maypok86/otter/v2",
	"github.com/pquerna/otp",
	"github.com/spf13/cobra",
	"go.uber.org/goleak", // for tests
	"golang.org/x/crypto",
	"golang.org/x/term",
	"modernc.org/libc", // for a test that asks SQLite itself; the driver needs it anyway
	"modernc.org/sqlite",
}

type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range goList(t, "./...") {
		name := local(p.ImportPath)
		rule, ok := ruleFor(strings.TrimPrefix(name, "./"))
		if !ok {
			t.Errorf("%s has no entry in mayImport", name)
			continue
		}
		seen[rule] = true
		for _, path := range p.Imports {
			imported := local(path)
			switch {
			case path == "net/http" && covers(noHTTP, strings.TrimPrefix(name, "./")):
				t.Errorf("%s imports net/http", name)
			case covers(testSupport, imported) && !covers(testSupport, name):
				t.Errorf("%s imports %s, which is for tests", name, imported)
			case !isStandard(path) && !covers(mayImport[rule], imported):
				t.Errorf("%s imports %s; it may import only the standard library and %v", name, imported, mayImport[rule])
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(mayImport)) {
		if !seen[name] {
			t.Errorf("mayImport has an entry %q that no package takes", name)
		}
	}
}

// A host links what it uses: the package itself brings uuid and nothing else, the user directory no driver.
func TestDependencies(t *testing.T) {
	for pkg, may := range map[string][]string{
		".":              {".", "./store", "github.com/google/uuid"},
		"./store":        {"./store"},
		"./store/memory": {"./store", "./store/memory"},
	} {
		for _, p := range goList(t, "-deps", pkg) {
			if !p.Standard && !covers(may, local(p.ImportPath)) {
				t.Errorf("%s depends on %s", pkg, local(p.ImportPath))
			}
		}
	}
	for _, p := range goList(t, "-deps", "./account") {
		if covers([]string{"github.com/lib/pq", "modernc.org", "./store/memory", "./store/sqlite", "./store/postgres"}, local(p.ImportPath)) {
			t.Errorf("./account depends on %s", local(p.ImportPath))
		}
	}
}

func TestRequirements(t *testing.T) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		if !r.Indirect && !slices.Contains(mayRequire, r.Path) {
			t.Errorf("go.mod requires %s directly; see mayRequire", r.Path)
		}
	}
}

// local turns this module's import paths into "." and "./name".
func local(path string) string {
	if path == module {
		return "."
	}
	if rest, ok := strings.CutPrefix(path, module+"/"); ok {
		return "./" + rest
	}
	return path
}

// covers reports whether path is one of names, or below one.
func covers(names []string, path string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return path == name || name != "." && name != "./store" && strings.HasPrefix(path, name+"/")
	})
}

// ruleFor returns the key of mayImport that name takes. "store" is not for what is below it: a new backend needs an entry.
func ruleFor(name string) (string, bool) {
	for key := name; ; {
		if _, ok := mayImport[key]; ok && (key != "store" || name == key) {
			return key, true
		}
		i := strings.LastIndexByte(key, '/')
		if i < 0 {
			return "", false
		}
		key = key[:i]
	}
}

// isStandard goes by the rule of the go command: the first element of any other path has a dot.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func goList(t *testing.T, args ...string) (pkgs []goPackage) {
	t.Helper()
	out := goCommand(t, append([]string{"list", "-json=ImportPath,Standard,Imports"}, args...)...)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return pkgs
		case err != nil:
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out
}

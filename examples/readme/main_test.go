package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the program into the README")

// The program in the README is this one, to the letter: it compiles.
func TestREADME(t *testing.T) {
	const (
		readme = "../../README.md"
		begin  = "<!-- program: examples/readme/main.go -->\n"
		end    = "<!-- /program -->\n"
	)
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has lost its marks", readme)
	}
	want := []byte(before + begin + "```go\n" + string(program) + "```\n" + end + after)
	if bytes.Equal(text, want) {
		return
	}
	if !*update {
		t.Fatalf("the program in %s is another one: go test ./readme -update", readme)
	}
	if err := os.WriteFile(readme, want, 0o644); err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"runtime/pprof"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// profileMissed says of each target that is missed where the time goes. It
// measures once more, with only the subject that is judged: nothing of another is
// in the profile, and what counts was measured without one.
func profileMissed(ctx context.Context, o options, d *data, rep *report, p *progress) {
	missed := map[string][]*outcome{}
	for _, out := range rep.outcomes() {
		if backend, _, _ := strings.Cut(out.id, "/"); out.missed() && !out.memory {
			missed[backend] = append(missed[backend], out)
		}
	}
	for _, name := range o.backends {
		if len(missed[name]) == 0 || ctx.Err() != nil {
			continue
		}
		b, err := openers[name](d, o)
		if err != nil {
			for _, out := range missed[name] {
				rep.profiles[out.key()] = noProfile(err)
			}
			continue
		}
		for _, c := range b.cases {
			for _, out := range missed[name] {
				if out.id == c.id(name) && ctx.Err() == nil {
					p.say("profile of %s", out.key())
					rep.profiles[out.key()] = profileOf(ctx, out.id, c, out.row, o.plan)
				}
			}
		}
		b.close()
	}
}

func noProfile(why error) string { return fmt.Sprintf("  - no profile: %v\n", why) }

// profileOf returns the top of a profile as an item of a list.
func profileOf(ctx context.Context, id string, c *benchCase, row string, p plan) string {
	alone, of := *c, "all of it"
	if c.gauge == nil {
		if c.inverse { // it is the first that is slow beside the row
			row = c.subjects[0].name
		}
		alone.subjects = slices.DeleteFunc(slices.Clone(c.subjects), func(s subject) bool { return s.name != row })
		of = row + " alone"
		// A fresh store in every pass is made by the first.
		alone.subjects[0].begin = c.subjects[0].begin
	}
	var buf bytes.Buffer
	if err := pprof.StartCPUProfile(&buf); err != nil {
		return "" // -cpuprofile has all of it
	}
	res := newResult(id, &alone)
	res.round(ctx, &alone, plan{passes: 1, pass: 3 * p.pass}, func(int) {})
	pprof.StopCPUProfile()
	prof, err := profile.Parse(&buf)
	if err != nil || res.err != nil {
		return noProfile(cmp.Or(err, res.err))
	}
	return topOf(prof, of)
}

// topOf lists the functions that take most, and those that take most with what
// they call. Of these the frames that are in every stack say nothing.
func topOf(prof *profile.Profile, of string) string {
	flat, sum, total := map[string]int64{}, map[string]int64{}, int64(0)
	for _, s := range prof.Sample {
		ns := s.Value[len(s.Value)-1]
		total += ns
		seen := map[string]bool{}
		for i, loc := range s.Location {
			for j, line := range loc.Line {
				if line.Function == nil {
					continue
				}
				name := line.Function.Name
				if i == 0 && j == 0 {
					flat[name] += ns
				}
				if !seen[name] && !strings.HasPrefix(name, "runtime") && !strings.HasPrefix(name, "main.") && !strings.HasPrefix(name, "sync.(*WaitGroup)") {
					seen[name] = true
					sum[name] += ns
				}
			}
		}
	}
	if total == 0 {
		return "  - no sample in the CPU profile: it waits\n"
	}
	return fmt.Sprintf("  - CPU profile of this process with %s, by function: %s\n  - with what they call: %s\n", of, top(flat, total), top(sum, total))
}

func top(by map[string]int64, total int64) string {
	names := slices.SortedFunc(maps.Keys(by), func(a, b string) int { return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b)) })
	var out []string
	for _, name := range names[:min(len(names), 8)] {
		out = append(out, fmt.Sprintf("`%s` %.0f %%", shortName(name), 100*float64(by[name])/float64(total)))
	}
	return strings.Join(out, ", ")
}

// shortName leaves out the path of the package and the types of instances.
func shortName(name string) string {
	if i, j := strings.Index(name, "["), strings.LastIndex(name, "]"); i >= 0 && i < j {
		name = name[:i] + "[…]" + name[j+1:]
	}
	return path.Base(name)
}

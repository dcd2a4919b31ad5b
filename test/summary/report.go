package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is one line of "go test -json"; see "go doc test2json" and, for those
// of builds, "go help buildjson".
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string
}

// key names a test; with an empty test, its package as a whole.
type key struct{ pkg, test string }

func (k key) String() string { return k.pkg + " " + k.test }

// counts are of tests that ended one way or another.
type counts struct{ passed, failed, skipped int }

type skip struct {
	key
	reason string
}

type report struct {
	out     io.Writer
	output  map[key][]string
	results map[key]string
	running map[string]bool // packages that started and did not end
	builds  map[string][]string
	total   counts
	skips   []skip
	failed  []string
}

func newReport(out io.Writer) *report {
	return &report{
		out: out, output: map[key][]string{}, results: map[key]string{},
		running: map[string]bool{}, builds: map[string][]string{},
	}
}

// line takes an event, or passes on what is none.
func (r *report) line(text []byte) {
	var e event
	if err := json.Unmarshal(text, &e); err != nil {
		fmt.Fprintf(r.out, "%s", text)
		return
	}
	k := key{e.Package, e.Test}
	switch e.Action {
	case "start":
		r.running[e.Package] = true
	case "output":
		r.output[k] = append(r.output[k], e.Output)
	case "build-output":
		r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
	case "pass", "fail", "skip":
		r.results[k] = e.Action
		if e.Test == "" {
			r.endPackage(e)
		}
	}
}

// endPackage counts the tests of a package and forgets what they said.
func (r *report) endPackage(e event) {
	delete(r.running, e.Package)
	var c counts
	keys := r.ended(e.Package)
	for i, k := range keys {
		hasSubtests := i+1 < len(keys) && slices.ContainsFunc(keys[i+1:], func(other key) bool {
			return strings.HasPrefix(other.test, k.test+"/")
		})
		if k.test == "" || hasSubtests && r.results[k] != "fail" {
			continue
		}
		r.count(&c, k, hasSubtests)
	}
	if e.Action == "fail" && c.failed == 0 {
		// It did not compile, or its end was none of its tests'.
		c.failed++
		r.fail(e.Package, append(r.builds[e.FailedBuild], r.output[key{pkg: e.Package}]...))
	}
	r.total.passed += c.passed
	r.total.failed += c.failed
	r.total.skipped += c.skipped
	if c != (counts{}) {
		fmt.Fprintf(r.out, "%-4s %s  %.1f s  %s\n", e.Action, e.Package, e.Elapsed, c)
	}
	maps.DeleteFunc(r.results, func(k key, _ string) bool { return k.pkg == e.Package })
	maps.DeleteFunc(r.output, func(k key, _ []string) bool { return k.pkg == e.Package })
}

// ended are a package's tests, by name. Others may run at the same time.
func (r *report) ended(pkg string) []key {
	var keys []key
	for k := range r.results {
		if k.pkg == pkg {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b key) int { return strings.Compare(a.test, b.test) })
	return keys
}

func (r *report) count(c *counts, k key, hasSubtests bool) {
	switch r.results[k] {
	case "pass":
		c.passed++
	case "skip":
		c.skipped++
		r.skips = append(r.skips, skip{k, reason(r.output[k])})
	case "fail":
		// A parent fails with its subtests: shown, for it may have said why.
		if !hasSubtests {
			c.failed++
		}
		r.fail(k.String(), r.output[k])
	}
}

func (r *report) fail(name string, output []string) {
	r.failed = append(r.failed, name)
	fmt.Fprintf(r.out, "FAIL %s\n", name)
	for _, text := range output {
		fmt.Fprintf(r.out, "     %s", text)
	}
}

// reason is what a test printed before it skipped itself, on one line and
// without the frame that package testing puts around it.
func reason(output []string) string {
	var words []string
	for _, text := range output {
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "=== ") || strings.HasPrefix(text, "--- ") {
			continue
		}
		if _, said, found := strings.Cut(text, ".go:"); found {
			if _, said, found = strings.Cut(said, ": "); found {
				text = said
			}
		}
		words = append(words, text)
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

// finish prints the end, and tells whether all is well.
func (r *report) finish() bool {
	for pkg := range r.running {
		r.total.failed++
		r.fail(pkg, []string{"it did not come to an end\n"})
	}
	if len(r.skips) > 0 {
		fmt.Fprintln(r.out, "\nskipped:")
		for _, s := range r.skips {
			fmt.Fprintf(r.out, "  %s: %s\n", s.key, s.reason)
		}
	}
	if len(r.failed) > 0 {
		fmt.Fprintln(r.out, "\nfailed:")
		for _, name := range r.failed {
			fmt.Fprintf(r.out, "  %s\n", name)
		}
	}
	fmt.Fprintf(r.out, "\n%s\n", r.total)
	return r.total.failed == 0 && r.total.passed+r.total.skipped > 0
}

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

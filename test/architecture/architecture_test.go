package architecture

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"golang.org/x/mod/modfile"
)

const (
	repository = "../.."
	module     = "github.com/nomad-sidecar/nomad-sidecar"
	nomad      = "github.com/hashicorp/nomad"
	goGetter   = "github.com/hashicorp/go-getter/v2"
	registries = "github.com/google/go-containerregistry"
)

// pkg is the output of "go list -json" for a package. Paths of this module are relative to it:
// "driver/pod".
type pkg struct {
	ImportPath   string
	Dir          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	GoFiles      []string
}

// imports returns the imports of the package and, if requested, of its tests.
func (p pkg) imports(tests bool) []string {
	all := p.Imports
	if tests {
		all = slices.Concat(all, p.TestImports, p.XTestImports)
	}
	return all
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports,GoFiles",
		"-tags", "containers_image_openpgp exclude_graphdriver_btrfs", "./...")
	cmd.Dir = repository
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	must.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	var all []pkg
	for {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		p.ImportPath = relative(p.ImportPath)
		for _, paths := range [][]string{p.Imports, p.TestImports, p.XTestImports} {
			for i := range paths {
				paths[i] = relative(paths[i])
			}
		}
		all = append(all, p)
	}
	must.SliceNotEmpty(t, all)
	return all
}

func relative(path string) string { return strings.TrimPrefix(path, module+"/") }

// in reports whether path is top or below it.
func in(path, top string) bool { return path == top || strings.HasPrefix(path, top+"/") }

// rule forbids imports, with the reason. Tests may be excepted.
type rule struct {
	name    string
	why     string
	forbids func(from, to string) bool
	tests   bool // the rule applies to test files too
}

func rules() []rule {
	return []rule{
		{
			name: "driver and templater are apart",
			why:  "they are two programs that meet only in Nomad's job",
			forbids: func(from, to string) bool {
				return (in(from, "driver") || in(from, "plugin")) && in(to, "templater") ||
					in(from, "templater") && (in(to, "driver") || in(to, "plugin"))
			},
			tests: true,
		},
		{
			name: "jobs imports nothing of ours",
			why:  "the catalog is data, and its programs stand for anybody's",
			forbids: func(from, to string) bool {
				return in(from, "jobs") && !in(to, "jobs") && slices.ContainsFunc(tops(), func(top string) bool { return in(to, top) })
			},
		},
		{
			name: "sidecars stand alone",
			why:  "each is used, and taken for an example, without the others; what they share is in jobs/internal",
			forbids: func(from, to string) bool {
				return in(from, sidecars) && in(to, sidecars) && sidecarOf(from) != sidecarOf(to)
			},
			tests: true,
		},
		{
			name:    "only driver imports Nomad, of the driver's packages",
			why:     "all else works with the kernel and the runtime, and is tested without Nomad",
			forbids: func(from, to string) bool { return in(from, "driver") && from != "driver" && in(to, nomad) },
			tests:   true,
		},
		{
			name: "adapters do not import each other",
			why:  "each adapts one thing; what joins them is driver/pod",
			forbids: func(from, to string) bool {
				return adapter(from) && in(to, "driver") && !in(to, adapterRoot(from)) && to != "driver/bounds"
			},
		},
		{
			name: "the templater's core knows no adapter",
			why:  "it plans from what it is given, and is tested without files, networks and Nomad",
			forbids: func(from, to string) bool {
				return core(from) && slices.ContainsFunc([]string{"catalog", "cluster", "admission", "adminpage", "tracing", "serve", "cli"}, func(adapter string) bool {
					return in(to, "templater/"+adapter)
				})
			},
			tests: true,
		},
		{
			name: "the ground floor of the templater knows nothing above it",
			why:  "a reader follows a job downward once: pipeline, the two forms of a job, the types of a job",
			forbids: func(from, to string) bool {
				switch {
				case in(from, "templater/hcljob") || in(from, "templater/jsonjob"):
					return to == "templater" || in(to, "templater/policy")
				case in(from, "templater/job"):
					return in(to, "templater") && to != "templater/sidecar" && to != "templater/diagnostic"
				}
				return false
			},
			tests: true,
		},
		{
			name: "only templater/catalog fetches, and no other adapter beside it",
			why:  "who reads a job or a definition must not reach a network, and what joins the adapters is templater/cli",
			forbids: func(from, to string) bool {
				if in(from, "templater/catalog") {
					return in(to, "templater") && to != "templater/sidecar" && to != "templater/bounds"
				}
				return in(from, "templater") && (in(to, goGetter) || in(to, registries))
			},
		},
		{
			name:    "nothing imports test",
			why:     "what only tests need must not reach a product",
			forbids: func(from, to string) bool { return !in(from, "test") && in(to, "test") },
		},
	}
}

// core reports whether a package belongs to the templater and does no I/O.
func core(path string) bool {
	return path == "templater" || slices.ContainsFunc([]string{"sidecar", "job", "diagnostic", "hcljob", "jsonjob", "sidecardoc", "policy", "analyze", "fleet", "explanation", "kube"}, func(name string) bool {
		return in(path, "templater/"+name)
	})
}

const sidecars = "jobs/sidecars"

// sidecarOf returns the folder of a package below jobs/sidecars.
func sidecarOf(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, sidecars+"/"), "/")
	return name
}

func tops() []string { return []string{"driver", "plugin", "templater", "test"} }

// adapter reports whether a package below driver adapts one thing: all do but driver/pod, which
// joins them.
func adapter(path string) bool {
	return strings.HasPrefix(path, "driver/") && !in(path, "driver/pod")
}

func adapterRoot(path string) string {
	parts := strings.SplitN(path, "/", 3)
	return parts[0] + "/" + parts[1]
}

func TestImports(t *testing.T) {
	packages := list(t)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			for _, p := range packages {
				for _, to := range p.imports(r.tests) {
					if r.forbids(p.ImportPath, to) {
						t.Errorf("%s imports %s, but %s", p.ImportPath, to, r.why)
					}
				}
			}
		})
	}
}

// TestRulesForbid tests the rules with made-up imports.
func TestRulesForbid(t *testing.T) {
	cases := []struct {
		rule, from, to string
		forbidden      bool
	}{
		{"driver and templater are apart", "driver/pod", "templater/sidecar", true},
		{"driver and templater are apart", "templater/cli", "driver", true},
		{"driver and templater are apart", "templater/cli", "templater", false},
		{"jobs imports nothing of ours", "jobs/sidecars/topz", "driver/process", true},
		{"jobs imports nothing of ours", "jobs/sidecars/topz", "github.com/prometheus/procfs", false},
		{"jobs imports nothing of ours", "jobs/sidecars/topz", "jobs/internal/podprocs", false},
		{"sidecars stand alone", "jobs/sidecars/topz", "jobs/sidecars/metrics/collector", true},
		{"sidecars stand alone", "jobs/sidecars/metrics", "jobs/sidecars/metrics/collector", false},
		{"sidecars stand alone", "jobs/sidecars/metrics", "jobs/internal/podprocs", false},
		{"only driver imports Nomad, of the driver's packages", "driver/pod", nomad + "/plugins/drivers", true},
		{"only driver imports Nomad, of the driver's packages", "driver", nomad + "/plugins/drivers", false},
		{"adapters do not import each other", "driver/image", "driver/cgroup", true},
		{"adapters do not import each other", "driver/image", "driver", true},
		{"adapters do not import each other", "driver/image", "driver/image/registry", false},
		{"adapters do not import each other", "driver/pod", "driver/image", false},
		{"adapters do not import each other", "driver/logs", "driver/bounds", false},
		{"adapters do not import each other", "driver/bounds", "driver/logs", true},
		{"the templater's core knows no adapter", "templater/sidecar", "templater/catalog", true},
		{"the templater's core knows no adapter", "templater", "templater/cluster", true},
		{"the templater's core knows no adapter", "templater/cli", "templater/catalog", false},
		{"the ground floor of the templater knows nothing above it", "templater/jsonjob", "templater", true},
		{"the ground floor of the templater knows nothing above it", "templater/hcljob", "templater/job", false},
		{"the ground floor of the templater knows nothing above it", "templater/job", "templater/hcljob", true},
		{"the ground floor of the templater knows nothing above it", "templater/policy", "templater", false},
		{"only templater/catalog fetches, and no other adapter beside it", "templater/cli", goGetter, true},
		{"only templater/catalog fetches, and no other adapter beside it", "templater/catalog", registries + "/pkg/name", false},
		{"only templater/catalog fetches, and no other adapter beside it", "templater/cli", registries + "/pkg/name", true},
		{"only templater/catalog fetches, and no other adapter beside it", "templater/catalog", "templater/cluster", true},
		{"only templater/catalog fetches, and no other adapter beside it", "templater/catalog", "templater/sidecar", false},
		{"nothing imports test", "driver", "test/internal/agent", true},
		{"nothing imports test", "test/e2e", "test/internal/agent", false},
	}
	all := rules()
	for _, c := range cases {
		i := slices.IndexFunc(all, func(r rule) bool { return r.name == c.rule })
		must.NonNegative(t, i, must.Sprint(c.rule))
		must.Eq(t, c.forbidden, all[i].forbids(c.from, c.to), must.Sprintf("%s → %s", c.from, c.to))
	}
}

func TestOnePackageComment(t *testing.T) {
	for _, p := range list(t) {
		var with []string
		for _, file := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			must.NoError(t, err)
			if parsed.Doc.Text() != "" {
				with = append(with, file)
			}
		}
		if len(p.GoFiles) > 0 && len(with) != 1 {
			t.Errorf("%s: want one file with a package comment, have %v", p.ImportPath, with)
		}
	}
}

// "go install" and importers of the module ignore a replace directive.
func TestNoReplace(t *testing.T) {
	for _, file := range []string{"go.mod", "tools/go.mod"} {
		text, err := os.ReadFile(filepath.Join(repository, file))
		must.NoError(t, err)
		mod, err := modfile.Parse(file, text, nil)
		must.NoError(t, err)
		must.SliceEmpty(t, mod.Replace, must.Sprint(file))
	}
}

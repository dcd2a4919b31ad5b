package pod_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
)

func table(seen map[string]*checkpointRuns) string {
	var out strings.Builder
	runs := 0
	for _, checkpoint := range slices.Sorted(maps.Keys(seen)) {
		failed, killed := seen[checkpoint].failed, seen[checkpoint].killed
		runs += len(failed) + len(killed)
		fmt.Fprintf(&out, "\n%-36s | failed in: %s | killed in: %s | runs: %d",
			checkpoint, strings.Join(failed, ", "), strings.Join(killed, ", "), len(failed)+len(killed))
	}
	return fmt.Sprintf("%d checkpoints, %d runs:%s", len(seen), runs, out.String())
}

// missing lists the checkpoints in the source that no test reached.
func missing(t *testing.T, seen map[string]*checkpointRuns) []string {
	t.Helper()
	var out []string
	for _, dir := range []string{"pod", "image", "ociruntime"} {
		files, err := filepath.Glob(filepath.Join("../../driver", dir, "*.go"))
		must.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			must.NoError(t, err)
			ast.Inspect(parsed, func(n ast.Node) bool {
				if name := checkpointName(n); name != "" && seen[name] == nil {
					out = append(out, name)
				}
				return true
			})
		}
	}
	return out
}

// checkpointName returns the name of a checkpoint call, or "".
func checkpointName(n ast.Node) string {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return ""
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || method.Sel.Name != "checkpoint" && method.Sel.Name != "before" {
		return ""
	}
	literal, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		return ""
	}
	name, err := strconv.Unquote(literal.Value)
	if err != nil {
		return ""
	}
	return name
}

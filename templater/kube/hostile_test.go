package kube_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/jobspec2"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater/kube"
)

func fromText(text string) (*kube.Result, string) {
	result, diags := kube.Import([]kube.Source{{Name: "m.yaml", Bytes: []byte(text)}}, kube.Options{})
	var out []string
	for _, d := range diags {
		out = append(out, fmt.Sprintf("%d: %s: %s", d.Subject.Start.Line, d.Summary, d.Detail))
	}
	return result, strings.Join(out, "\n")
}

const pod = `apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
`

// Input that is too large, or would become so, is refused.
func TestImport_Limits(t *testing.T) {
	var doubling strings.Builder
	doubling.WriteString(pod + "  containers:\n  - name: c\n    image: i:1\n    env:\n    - {name: A0, value: 0123456789abcdef}\n")
	for i := range 40 {
		fmt.Fprintf(&doubling, "    - {name: A%d, value: $(A%d)$(A%d)}\n", i+1, i, i)
	}
	var bomb strings.Builder
	bomb.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\na0: &a0 [x, x, x, x, x, x, x, x]\n")
	for i := range 12 {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 8), ", "))
	}
	for name, c := range map[string]struct{ text, want string }{
		"aliases":      {bomb.String(), "has more than 200000 values with its aliases resolved"},
		"itself":       {"a: &a [*a]\n", "nests more than 100 levels deep, or has an alias that contains itself"},
		"depth":        {strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "nests more than 100 levels deep"},
		"more depth":   {strings.Repeat("[", 20_000), "exceeded max depth"},
		"documents":    {strings.Repeat("---\na: b\n", 2001), "Too many documents"},
		"file":         {strings.Repeat("#", kube.FileBytes+1), "File too large"},
		"references":   {doubling.String(), "with its references resolved it has more than 128 KiB"},
		"nested lists": {strings.Repeat(`{"apiVersion":"v1","kind":"List","items":[`, 6) + strings.Repeat("]}", 6), "more than four levels deep"},
	} {
		t.Run(name, func(t *testing.T) {
			result, errors := fromText(c.text)
			must.Nil(t, result)
			must.StrContains(t, errors, c.want)
			must.Less(t, 20_000_000, len(errors))
		})
	}
}

// Errors name the line, the object and the path.
func TestImport_Errors(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"duplicate key":    {pod + "  hostname: a\n  hostname: b\n", `6: Not YAML`},
		"number for text":  {pod + "  containers:\n  - {name: c, image: i:1}\n  - name: d\n    image: i:1\n    env: [{name: A, value: 5}]\n", "spec.containers.env.value: want string, not number"},
		"unknown volume":   {pod + "  containers:\n  - name: c\n    image: i:1\n    volumeMounts:\n    - {name: none, mountPath: /x}\n", `9: Invalid manifest: Pod "p": spec.containers[0].volumeMounts[0].name: the pod has no volume "none".`},
		"escaping subPath": {pod + "  volumes: [{name: v, emptyDir: {}}]\n  containers:\n  - name: c\n    image: i:1\n    volumeMounts:\n    - {name: v, mountPath: /x, subPath: ../../etc}\n", "subPath: want a path below the volume"},
		"no containers":    {pod + "  hostname: x\n", "a pod needs a container"},
		"bad name":         {"apiVersion: v1\nkind: Pod\nmetadata: {name: \"../../x\"}\nspec: {}\n", "3: Invalid name"},
		"bad container":    {pod + "  containers: [{name: alloc, image: i}]\n", "Nomad reserves \"alloc\""},
		"bad port":         {pod + "  containers: [{name: c, image: i, ports: [{containerPort: 70000}]}]\n", "ports are numbers from 1 to 65535"},
		"probe port":       {pod + "  containers: [{name: c, image: i, startupProbe: {tcpSocket: {port: web}}}]\n", "startupProbe.tcpSocket.port: want the name or number of a port"},
		"quantity":         {pod + "  containers: [{name: c, image: i, resources: {requests: {cpu: lots}}}]\n", "Invalid manifest"},
		"no kind":          {"a: b\n", "has no kind or no apiVersion"},
		"not an object":    {"- a\n", "is not a Kubernetes object"},
		"root and nonroot": {pod + "  containers: [{name: c, image: i, securityContext: {runAsUser: 0, runAsNonRoot: true}}]\n", "it contradicts runAsUser: 0"},
		"missing key":      {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n---\n" + pod + "  containers: [{name: c, image: i, env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: k}}}]}]\n", `ConfigMap "m" has no key "k"`},
		"windows":          {pod + "  os: {name: windows}\n  containers: [{name: c, image: i}]\n", "runs on Linux only"},
		"empty":            {"# nothing\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			result, diags := kube.Import([]kube.Source{{Name: "m.yaml", Bytes: []byte(c.text)}}, kube.Options{})
			must.Nil(t, result)
			var out strings.Builder
			for _, d := range diags {
				if d.Subject != nil {
					fmt.Fprintf(&out, "%d: ", d.Subject.Start.Line)
				}
				fmt.Fprintf(&out, "%s: %s\n", d.Summary, d.Detail)
			}
			must.StrContains(t, out.String(), c.want)
			must.NotEq(t, "", out.String())
		})
	}
}

// No value of a Secret is in a job or a finding.
func TestImport_SecretsStayOut(t *testing.T) {
	const hidden = "hidden-value"
	result, errors := fromText("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: " + hidden + ", bad: [}\n")
	must.Nil(t, result)
	must.StrNotContains(t, errors, hidden)
	result, errors = fromText("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: " + hidden + "}\nextra: " + hidden + "\n---\n" + pod +
		"  containers: [{name: c, image: 'i:1', args: [$(A)], env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}, {name: B, value: x$(A)}]}]\n")
	must.Eq(t, "", errors)
	must.StrNotContains(t, report(result), hidden)
	for _, f := range result.Findings {
		must.StrNotContains(t, f.Text, hidden)
		must.Eq(t, 2, f.Range.Start.Line) // not the line with the value
	}
	must.Eq(t, map[string]string{"s_k": hidden}, result.Jobs[0].Secrets)
	must.Eq(t, "nomad/jobs/p", result.Jobs[0].VariablePath)
}

// Two imports of one input are the same.
func TestImport_Deterministic(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	must.NoError(t, err)
	for _, path := range files {
		text, err := os.ReadFile(path)
		must.NoError(t, err)
		once, errors := fromText(string(text))
		must.Eq(t, "", errors)
		for range 2 {
			again, _ := fromText(string(text))
			must.Eq(t, report(once), report(again))
		}
	}
}

// FuzzImport requires that any input is refused or becomes jobs that Nomad parses.
func FuzzImport(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	must.NoError(f, err)
	for _, path := range files {
		text, err := os.ReadFile(path)
		must.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		result, diags := kube.Import([]kube.Source{{Name: "m.yaml", Bytes: text}}, kube.Options{})
		if diags.HasErrors() {
			must.Nil(t, result)
			return
		}
		for _, j := range result.Jobs {
			_, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "job.hcl", Body: j.Text, Strict: true})
			must.NoError(t, err, must.Sprint(string(bytes.ToValidUTF8(j.Text, nil))))
		}
	})
}

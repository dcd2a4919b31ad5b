package templater_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hashicorp/hcl/v2"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/diagnostic"
	"github.com/nomad-sidecar/nomad-sidecar/templater/hcljob"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/policy"
)

// openJob is a job with slots for values: slot NAME stands for one of its values.
const openJob = `job "j" {
  namespace   = slot(namespace)
  type        = slot(type)
  region      = slot(region)
  node_pool   = slot(pool)
  datacenters = [slot(dc), "dc9"]
  meta = {
    "sidecar.inject" = slot(inject)
    team             = slot(team)
  }
  group "g" {
    count = slot(count)
    meta  = merge({ a = "1" }, slot(labels), { "sidecar.reader.level" = slot(level) })
    network {
      mode = slot(mode)
      port "app" {
        to     = slot(to)
        static = slot(static)
      }
    }
    ephemeral_disk {
      size = slot(disk)
    }
    service {
      name     = slot(service)
      port     = "one"
      provider = slot(provider)
    }
    task "app" {
      driver = slot(driver)
      env {
        ONE   = slot(one)
        OTHER = slot(other)
      }
      meta {
        x = slot(taskmeta)
      }
      config {
        image    = slot(image)
        share    = slot(share)
      }
      logs {
        max_files = slot(files)
      }
      template {
        data        = "x"
        destination = slot(destination)
      }
    }
  }
}
`

// openValues returns the possible values of each slot, the most harmless one first.
func openValues() map[string][]string {
	return map[string][]string{
		"namespace": {`"default"`, `"prod"`}, "type": {`"service"`, `"batch"`}, "region": {`"global"`, `"eu"`},
		"pool": {`"default"`, `"gpu"`}, "dc": {`"dc1"`, `"dc2"`},
		"inject": {`"anywhere"`, `""`, `"ports"`, `"viewer"`, `"reader"`, `"ports, reader"`, `"anywhere, viewer"`}, "team": {`"a"`, `"b"`},
		"count": {`1`, `3`}, "labels": {`{}`, `{ "sidecar.exclude" = "*" }`, `{ "sidecar.inject" = "reader" }`, `{ tier = "front" }`},
		"level": {`"1"`, `"2"`}, "mode": {`"bridge"`, `"host"`}, "to": {`8080`, `9001`, `0`}, "static": {`0`, `9001`}, "disk": {`300`, `900`, `50`},
		"service": {`"web"`, `"ports"`}, "provider": {`"nomad"`, `"consul"`}, "driver": {`"pod"`, `"docker"`}, "one": {`"9001"`, `"1"`},
		"other": {`"x"`, `"y"`}, "taskmeta": {`"x"`, `"y"`}, "image": {`"app:1"`, `"other:1"`}, "share": {`["ipc", "uts"]`, `["pid"]`, `[]`},
		"files": {`10`, `3`}, "destination": {`"local/x"`, `"local/anywhere"`}, "list": {`[1]`, `[]`},
	}
}

// withDynamic rewrites some blocks of the job as dynamic blocks.
func withDynamic(r *rand.Rand) string {
	text := openJob
	for _, indented := range []string{"    network", "    ephemeral_disk", "    service", "      env", "      meta", "      config", "      logs", "      template"} {
		kind := strings.TrimLeft(indented, " ")
		end := "\n" + strings.TrimSuffix(indented, kind) + "}\n"
		before, rest, found := strings.Cut(text, "\n"+indented+" {\n")
		body, after, ended := strings.Cut(rest, end)
		if found && ended && r.IntN(6) == 0 {
			text = before + "\n" + indented[:len(indented)-len(kind)] + "dynamic \"" + kind + "\" {\n for_each = slot(list)\n iterator = it\n content {\n" + body + "\n}\n}\n" + after
		}
	}
	return text
}

// reader depends on values of the job.
const reader = `
  parameter "level" {
    type    = number
    default = 0
  }
  task "reader" {
    driver = "docker"
    env {
      PLACE = "${job.namespace}/${job.region}"
      COUNT = group.count
      TEAM  = lookup(job.meta, "team", "none")
      LEVEL = param.level
    }
  }
`

func openRules() []string {
	var out []string
	rule := func(match, rest string) {
		out = append(out, fmt.Sprintf("rule \"r%d\" {\n match {\n%s\n}\n%s\n}\n", len(out), match, rest))
	}
	for _, match := range []string{
		`namespace = ["prod"]`, `type = ["batch"]`, `region = ["eu"]`, `node_pool = ["gpu"]`, `datacenter = ["dc2"]`, `network = ["bridge"]`,
		`driver = ["docker"]`, `meta = { team = "b" }`, `meta = { tier = "front" }`, "namespace = [\"prod\"]\n driver = [\"pod\"]", `job = ["j"]`,
	} {
		for _, rest := range []string{
			`inject "reader" {}`, "on_error = \"skip\"\n inject \"ports\" {}", "required = true\n inject \"anywhere\" {}",
			"inject \"reader\" {\n level = group.count\n}", "on_error = \"skip\"\n inject \"viewer\" {}",
		} {
			rule(match, rest)
		}
	}
	for _, condition := range []string{
		`job.namespace != "prod" || group.count < 2`, `!contains(group.drivers, "docker")`, `length([for i in group.images : i if substr(i, 0, 3) != "app"]) == 0`,
		`contains(job.datacenters, "dc1")`, `lookup(group.meta, "tier", "back") != "front"`, `try(job.meta.team, "") == "a"`, `length(group.networks) == 1`,
		`contains(group.sidecars, "anywhere") || job.type == "batch"`,
	} {
		rule("", "validation {\n condition = "+condition+"\n error_message = \"no\"\n}")
	}
	return out
}

var (
	slotForm = regexp.MustCompile(`slot\((\w+)\)`)
	// filled is the value of a slot, or a seal.
	filled = regexp.MustCompile(`/\*\w+\*/.*?/\*end\*/|#sidecar<[^\n]*`)
)

// unknownForms returns an expression with an unknown value.
func unknownForms(r *rand.Rand, name string) string {
	return []string{"var." + name, "(var." + name + ")", "local." + name, "future(\"" + name + "\")", "try(future(\"" + name + "\"), \"\")",
		"file(\"" + name + "\")", "try(file(\"" + name + "\"), null)", "var." + name + "_object.a"}[r.IntN(8)]
}

// TestInject_NothingUnknownIsAssumed replaces values of a job by expressions that are not
// known. The result is an error, or that with the values given.
func TestInject_NothingUnknownIsAssumed(t *testing.T) {
	c := loadCatalog(t)
	text := "sidecar \"reader\" {\n version = \"1.0.0\"\n" + reader + "\n}\n"
	must.False(t, c.Load(fstest.MapFS{"reader.sidecar.hcl": {Data: []byte(text)}}, "").HasErrors())
	values, rules := openValues(), openRules()
	seed := [2]uint64{1, rand.Uint64()}
	t.Logf("seed %d", seed[1])
	r := rand.New(rand.NewPCG(seed[0], seed[1]))
	const rounds = 1000
	same, refused, both := 0, 0, 0
	for range rounds {
		given, unknown := map[string]string{}, map[string]string{}
		odd := r.Float64() / 2
		for name, list := range values {
			given[name] = list[0]
			if r.Float64() < odd {
				given[name] = list[r.IntN(len(list))]
			}
			if r.IntN(12) == 0 {
				unknown[name] = unknownForms(r, name)
			}
		}
		var p templater.Policy
		if r.IntN(2) == 0 {
			text := ""
			for _, i := range r.Perm(len(rules))[:1+r.IntN(3)] {
				text += rules[i]
			}
			loaded := &policy.Policy{}
			diags := loaded.Add([]byte(text), "p.hcl")
			must.False(t, diags.HasErrors(), must.Sprint(diags, text))
			p = loaded
		}
		text := withDynamic(r)
		full := fillSlots(text, func(name string) string { return given[name] })
		open := fillSlots(text, func(name string) string {
			if u := unknown[name]; u != "" {
				return u
			}
			return given[name]
		})
		want, wantDiags := injectOpen(t, c, full, p)
		got, diags := injectOpen(t, c, open, p)
		switch {
		case diags.HasErrors() && wantDiags.HasErrors():
			both++
		case diags.HasErrors():
			must.True(t, diagnostic.HasUnknown(diags), must.Sprint(diags, open))
			refused++
		default:
			must.False(t, wantDiags.HasErrors(), must.Sprint("no error without the values, but with them: ", wantDiags, open))
			must.Eq(t, want, got, must.Sprint(open))
			same++
		}
	}
	t.Logf("%d jobs: %d the same, %d refused, %d wrong with and without the values", rounds, same, refused, both)
	must.Greater(t, rounds/20, same)
	must.Greater(t, rounds/20, refused)
}

// TestInject_UnknownPortInsideWithStatic: an unknown "to" is not replaced by the static port, which
// the sidecar's port would conflict with.
func TestInject_UnknownPortInsideWithStatic(t *testing.T) {
	set := map[string]string{"inject": `"ports"`, "static": "9001", "to": "var.to"}
	_, diags := injectOpen(t, loadCatalog(t), fillSlots(openJob, func(name string) string {
		if value, ok := set[name]; ok {
			return value
		}
		return openValues()[name][0]
	}), nil)
	must.True(t, diagnostic.HasUnknown(diags), must.Sprint(diags))
	must.StrNotContains(t, diags.Error(), "Port taken inside the pod")
}

func fillSlots(text string, value func(name string) string) string {
	return slotForm.ReplaceAllStringFunc(text, func(s string) string {
		name := slotForm.FindStringSubmatch(s)[1]
		return "/*" + name + "*/" + value(name) + "/*end*/"
	})
}

// injectOpen injects, and returns the text without declarations, values and seals.
func injectOpen(t *testing.T, c job.Catalog, text string, p templater.Policy) (string, hcl.Diagnostics) {
	var declared strings.Builder
	for name := range openValues() {
		fmt.Fprintf(&declared, "variable %q {}\nvariable \"%s_object\" {\n type = object({ a = any })\n}\nlocals {\n %s = var.%s\n}\n", name, name, name, name)
	}
	f, diags := hcljob.Parse([]byte(declared.String()+text), "job.hcl", hcljob.Inputs{})
	must.False(t, diags.HasErrors(), must.Sprint(diags, text))
	in, diags := templater.Inject(f, c, templater.Flags{Policy: p})
	_, out, _ := strings.Cut(string(in.Output), "job \"j\"")
	return filled.ReplaceAllString(out, ""), diags
}

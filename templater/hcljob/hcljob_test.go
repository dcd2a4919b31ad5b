package hcljob

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

func open(t *testing.T, src string, in Inputs) *File {
	t.Helper()
	f, diags := Parse([]byte(src), "job.hcl", in)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return f
}

func TestVariablesWinAsInNomad(t *testing.T) {
	src := `
variable "a" { default = "default" }
variable "n" {
  type    = number
  default = 1
}
variable "l" { type = list(string) }
variables { v = "old" }
locals {
  second = "${local.first}!"
  first  = upper(var.a)
}
job "j" {
  region    = local.second
  namespace = var.l[0]
  type      = var.v
  meta { n = var.n + 1 }
}
`
	file := filepath.Join(t.TempDir(), "vars.hcl")
	must.NoError(t, os.WriteFile(file, []byte("a = \"file\"\nn = 5\n"), 0o600))
	in := Inputs{Env: []string{"NOMAD_VAR_a=env", "NOMAD_VAR_l=[\"env\"]", "OTHER=1", "NOMAD_VAR_none=1"}}
	j := open(t, src, in).Job()
	must.Eq(t, "ENV!", j.Region.Value)
	must.Eq(t, "env", j.Namespace.Value)
	must.Eq(t, "old", j.Type.Value)
	must.Eq(t, "2", j.Meta["n"].Value)
	in.VarFiles = []string{file}
	j = open(t, src, in).Job()
	must.Eq(t, "FILE!", j.Region.Value)
	must.Eq(t, "6", j.Meta["n"].Value)
	in.Vars = []string{"a=flag=x", "l=[\"flag\"]"}
	j = open(t, src, in).Job()
	must.Eq(t, "FLAG=X!", j.Region.Value)
	must.Eq(t, "flag", j.Namespace.Value)
}

func TestAVariableWithoutAValueIsNoObstacle(t *testing.T) {
	src := "variable \"a\" {}\nvariable \"n\" { type = number }\nlocals { b = var.a }\njob \"j\" {\n region = local.b\n meta { x = var.a }\n" +
		"group \"g\" {\n count = var.n\n task \"t\" {\n driver = \"pod\"\n config { x = var.a }\n }\n }\n}\n"
	j := open(t, src, Inputs{}).Job()
	must.Eq(t, "var.a (job.hcl:5)", j.Region.Unknown.String())
	must.Eq(t, "Give -var a=…, or -var-file.", j.Region.Unknown.WayOut)
	must.Eq(t, "var.a (job.hcl:6)", j.Meta["x"].Unknown.String())
	must.False(t, j.Groups[0].Count.IsKnown())
	must.False(t, j.Groups[0].Tasks[0].Config["x"].Value.IsKnown())
}

func TestParse_EmptyTextIsDefault(t *testing.T) {
	j := open(t, "variable \"n\" {\n default = \"\"\n}\njob \"j\" {\n namespace = var.n\n type = \"\"\n region = \"\"\n node_pool = \"\"\n name = \"\"\n"+
		"group \"g\" {\n network { mode = \"\" }\n service { provider = \"\" }\n task \"t\" {\n driver = \"pod\"\n }\n }\n}\n", Inputs{}).Job()
	for want, got := range map[string]job.Text{
		"default": j.Namespace, "service": j.Type, "global": j.Region, "j": j.Name, "host": j.Groups[0].Networks[0].Mode, "consul": j.Groups[0].Services[0].Provider,
	} {
		must.Eq(t, want, got.Value)
	}
	must.Eq(t, "default", j.NodePool.Value)
}

func TestParse_ArgumentWithUnknownFunction(t *testing.T) {
	j := open(t, "job \"j\" {\n sidecar \"x\" {\n  a = try(future(1), 2)\n  b = future(convert([\"c\"], list(string)))\n  c = try(convert([\"c\"], list(string)), [])\n }\n}\n", Inputs{}).Job()
	args := j.Requests[0].Arguments
	must.Eq(t, "future() (job.hcl:3)", args["a"].Unknown.String())
	must.Eq(t, "future() (job.hcl:4)", args["b"].Unknown.String())
	must.Nil(t, args["c"].Unknown)
}

func TestABlockOfANewerNomadIsNoObstacle(t *testing.T) {
	src := "job \"j\" {\n  future \"x\" {}\n  group \"g\" {\n    hologram = true\n    teleport {}\n    task \"t\" {\n      driver = \"pod\"\n      beam {}\n    }\n  }\n}\n"
	f := open(t, src, Inputs{})
	out, diags := f.Apply([]job.Edit{&job.SetEnv{Group: "g", Task: "t", Name: "A", Value: "b"}})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.StrContains(t, string(out), "beam {}\n      #sidecar>")
	_, diags = f.JSON()
	must.Eq(t, "Nomad cannot parse the job", diags[0].Summary)
}

func TestLinesThatCannotBeEdited(t *testing.T) {
	for name, src := range map[string]string{
		"comment begins after":  "job \"j\" {\n group \"g\" {\n  sidecar \"x\" {} /* a\n */\n task \"t\" {\n }\n }\n}\n",
		"comment ends before":   "job \"j\" {\n group \"g\" {\n  /* a\n */ sidecar \"x\" {}\n task \"t\" {\n }\n }\n}\n",
		"brace behind comment":  "job \"j\" {\n group \"g\" {\n task \"t\" {\n /* a\n */ }\n }\n}\n",
		"one-line with comment": "job \"j\" {\n group \"g\" {\n /* a */ task \"t\" { driver = \"pod\" }\n }\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := open(t, src, Inputs{}).Apply([]job.Edit{&job.SetEnv{Group: "g", Task: "t", Name: "A", Value: "b"}})
			must.Len(t, 1, diags)
			must.Eq(t, "Cannot edit this line", diags[0].Summary)
			must.NotNil(t, diags[0].Subject)
		})
	}
}

func TestMarksMustPair(t *testing.T) {
	for _, src := range []string{"#sidecar> x\n", "#sidecar<\n", "#sidecar> x\n#sidecar> x\n#sidecar<\n"} {
		_, diags := Eject([]byte(src), "job.hcl")
		must.Len(t, 1, diags)
		must.Eq(t, "Broken injection marks", diags[0].Summary)
	}
}

func TestMarksInAHeredocAreText(t *testing.T) {
	src := "job \"j\" {\n  meta = { a = <<EOT\n#sidecar> x\n#sidecar|y\nEOT\n  }\n}\n"
	out, diags := Eject([]byte(src), "job.hcl")
	must.False(t, diags.HasErrors())
	must.Eq(t, src, string(out))
}

func TestReindentedMarksStillPair(t *testing.T) {
	// As `nomad fmt` leaves them.
	src := "job \"j\" {\n  #sidecar|  sidecar \"x\" {}\n      #sidecar> added\n  x   =   1\n #sidecar< " + sealOf([]byte("x = 1\n"), nil) + "\n}\n"
	out, diags := Eject([]byte(src), "job.hcl")
	must.False(t, diags.HasErrors())
	must.Eq(t, "job \"j\" {\n  sidecar \"x\" {}\n}\n", string(out))
}

// Somebody edits what was injected, or puts marks around what is the job's own: nothing
// of it is removed or put back, and nothing is lost.
func TestForgedCommentsAreNotFollowed(t *testing.T) {
	j := "job \"j\" {\n  group \"g\" {\n    sidecar \"x\" {}\n    task \"t\" {\n      driver = \"pod\"\n      config {\n        dns = [1]\n      }\n      env { A = \"b\" }\n    }\n  }\n}\n"
	f := open(t, j, Inputs{})
	out, diags := f.Apply([]job.Edit{
		&job.SetConfig{Group: "g", Task: "t", Name: "dns", Value: cty.TupleVal([]cty.Value{cty.NumberIntVal(2)})},
		&job.SetEnv{Group: "g", Task: "t", Name: "B", Value: "c"}, &job.AddTask{Group: "g", Task: &sidecar.Block{Type: "task", Labels: []string{"s"}}},
	})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	injected := string(out)
	replaced := func(from, to string) string {
		must.StrContains(t, injected, from)
		return strings.Replace(injected, from, to, 1)
	}
	own := "      #sidecar> added\n      logs { max_files = 2 }\n      #sidecar<"
	for name, src := range map[string]string{
		"around a block": strings.Replace(j, "      driver", own+"\n      driver", 1), "around a task": "job \"j\" {\n  group \"g\" {\n#sidecar> x\n    task \"t\" {\n}\n#sidecar<\n}\n}\n",
		"with another's seal": strings.Replace(j, "      driver", own+" "+sealOf([]byte("x = 1\n"), nil)+"\n      driver", 1),
		"an edit":             replaced("dns = [2]", "dns = [3]"), "one more line": replaced("task \"s\" {}", "task \"s\" {}\n task \"mine\" {}"),
		"what was replaced": replaced("dns = [1]", "privileged = true"), "a line in a block": replaced("#sidecar|      env { A = \"b\" }", "#sidecar|      user = \"root\""),
		"put back": strings.Replace(j, "      driver", "#sidecar|     user = \"root\"\n      driver", 1), "half a block": strings.Replace(j, "      driver", "#sidecar|     sidecar \"x\" {\n      driver", 1),
		"beside a sidecar block": replaced("#sidecar|    sidecar \"x\" {}\n", "#sidecar|    sidecar \"x\" {}\n#sidecar|    user = \"root\"\n"),
	} {
		_, diags := Eject([]byte(src), "job.hcl")
		must.Len(t, 1, diags, must.Sprintf("%s\n%s", name, src))
		must.Eq(t, "Edited or forged injection", diags[0].Summary, must.Sprint(name))
		must.Greater(t, 1, diags[0].Subject.Start.Line)
		must.StrContains(t, diags[0].Detail, "Put them back as they were; or remove these comments")
		_, diags = Parse([]byte(src), "job.hcl", Inputs{})
		must.True(t, diags.HasErrors(), must.Sprint(name))
	}
	// What nomad fmt does to it is no edit.
	back, diags := Eject([]byte(strings.ReplaceAll(replaced("dns = [2]", "dns   =  [2]"), "        #sidecar", "  #sidecar")), "job.hcl")
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	must.Eq(t, j, string(back))
}

func TestEditsOfOneTaskMeet(t *testing.T) {
	src := "job \"j\" {\n  group \"g\" {\n    task \"t\" {\n      config {\n        b = [1]\n        a = [1]\n      }\n    }\n  }\n}\n"
	f := open(t, src, Inputs{})
	set := func(name string) job.Edit {
		return &job.SetConfig{Group: "g", Task: "t", Name: name, Value: cty.TupleVal([]cty.Value{cty.NumberIntVal(2)})}
	}
	out, diags := f.Apply([]job.Edit{set("a"), set("b"), set("c"), &job.AddTask{Group: "g", Task: &sidecar.Block{Type: "task", Labels: []string{"s"}}}})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	again := open(t, strings.ReplaceAll(string(out), "#sidecar", "#"), Inputs{}).Job().Groups[0]
	must.Len(t, 2, again.Tasks)
	for _, name := range []string{"a", "b", "c"} {
		must.Eq(t, "[2]", sidecar.Value(again.Tasks[0].Config[name].Value, sidecar.Style{}))
	}
}

func FuzzEject(f *testing.F) {
	f.Add([]byte("job \"j\" {\n#sidecar|  sidecar \"x\" {}\n  #sidecar> a\n  x = 1\n  #sidecar< " + sealOf([]byte("x = 1\n"), nil) + "\n}\n"))
	f.Add([]byte("job \"j\" {\r\n  group \"g\" {\r\n    sidecar \"x\" {}\r\n    task \"t\" { driver = \"pod\" }\r\n  }\r\n}"))
	f.Fuzz(func(t *testing.T, src []byte) {
		file, _ := Parse(src, "job.hcl", Inputs{})
		if file == nil {
			return
		}
		var edits []job.Edit
		for _, g := range file.Job().Groups {
			edits = append(edits, &job.AddTask{Group: g.Name, Task: &sidecar.Block{Type: "task", Labels: []string{"s"}}})
			for _, task := range g.Tasks {
				edits = append(edits, &job.SetEnv{Group: g.Name, Task: task.Name, Name: "A", Value: "b"})
			}
		}
		out, diags := file.Apply(edits)
		if diags.HasErrors() {
			return
		}
		back, diags := Eject(out, "job.hcl")
		must.False(t, diags.HasErrors())
		base, _ := Eject(src, "job.hcl")
		must.Eq(t, string(base), string(back))
	})
}

package templater_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/shoenig/test/must"
	"github.com/zclconf/go-cty/cty"

	"github.com/nomad-sidecar/nomad-sidecar/templater"
	"github.com/nomad-sidecar/nomad-sidecar/templater/job"
	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// templates are the parameters of the catalog that are templates of Nomad, and say so.
func templates() map[string]bool {
	return map[string]bool{"config-reloader.http_headers": true, "config-reloader.template": true, "log-shipper.http_headers": true}
}

// harmless matches texts without characters that mean something to a template of Nomad, a shell, or
// a configuration file of the catalog's programs.
var harmless = regexp.MustCompile(`^[A-Za-z0-9._~:/@+=,-]*$`)

// constants may stand before a value.
var constants = map[string]bool{
	"": true, "-key-header=": true, "-trusted-proxy=": true, "/alloc/": true, "--allowed-group=": true,
	"--email-domain=": true, "--redirect-url=": true, "--oidc-issuer-url=": true, "--skip-auth-route=GET=^": true,
}

// programs are parameters with a script, or a regular expression that is quoted in a configuration: the
// tests of their definitions have the values that could end it.
var programs = map[string]bool{"health-adapter.check": true, "log-adapter.pattern": true, "log-adapter.start": true}

// hostileValues are texts for a parameter: each alone, and behind a value that it takes.
func hostileValues(good string) []string {
	var out []string
	for _, text := range hostileTexts() {
		out = append(out, text, good+text)
	}
	return append(out, "-flag", "--", "a -flag b", "a,b", "x; listen 80", "x;\n}\nserver {", "../../etc/passwd", "/alloc/../../x", "<<<nomad: env \"X\" :nomad>>>", "\"$(touch evil)\"")
}

// texted makes values of a parameter's type that hold a text; none for those without.
func texted(p *sidecar.Parameter, text string) cty.Value {
	switch {
	case p.Type == cty.String:
		return cty.StringVal(text)
	case p.Type.Equals(cty.List(cty.String)):
		return cty.ListVal([]cty.Value{cty.StringVal(text)})
	}
	return cty.NilVal
}

// Each text that a parameter of the catalog takes is refused, or ends up as it is: as one
// argument of a program or one field, with nothing around it changed. No script, no
// configuration and no template is another one for it.
func TestHostileValuesInTheCatalog(t *testing.T) {
	c := &sidecar.Catalog{}
	const dir = "../jobs/sidecars"
	diags := c.Load(os.DirFS(dir), dir)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	refused, kept := 0, 0
	for _, name := range c.Names() {
		d := c.Find(name)
		for _, p := range d.Parameters {
			if texted(p, "") == cty.NilVal {
				continue
			}
			good, before := goodText(t, c, d, p)
			for _, text := range hostileValues(good) {
				after, why := injectedCatalog(t, c, d, p, text)
				if why != "" {
					if p.Name != "app_task" { // that is looked up among the group's tasks
						must.StrContains(t, why, p.Name, must.Sprint(name))
					}
					refused++
					continue
				}
				kept++
				onlyValues(t, name+"."+p.Name, before, after, cty.StringVal(good).AsString(), cty.StringVal(text).AsString())
			}
		}
	}
	must.Greater(t, 200, refused)
	must.Greater(t, 200, kept)
}

// goodText is a text that a parameter takes, with the tasks of the sidecar.
func goodText(t *testing.T, c *sidecar.Catalog, d *sidecar.Definition, p *sidecar.Parameter) (string, any) {
	t.Helper()
	var refusals []string
	for _, good := range append(given(p), "/someone", "someone", "some.one", "https://some.one/") {
		tasks, why := injectedCatalog(t, c, d, p, good)
		if why == "" {
			return good, tasks
		}
		refusals = append(refusals, why)
	}
	t.Fatalf("%s.%s: no text is known that it takes: %s", d.Name, p.Name, strings.Join(refusals, "; "))
	return "", nil
}

// given returns the texts of a parameter's example and default.
func given(p *sidecar.Parameter) (texts []string) {
	for _, v := range []cty.Value{p.Example, p.Default} {
		switch {
		case v == cty.NilVal || v.IsNull():
		case v.Type() == cty.String:
			texts = append(texts, v.AsString())
		case v.LengthInt() > 0:
			texts = append(texts, v.AsValueSlice()[0].AsString())
		}
	}
	return texts
}

const catalogJob = `{"ID":"j","TaskGroups":[{"Name":"g","Networks":[{"Mode":"bridge"}],"Volumes":{},"Tasks":[{"Name":"app","Driver":"pod","Config":{"command":"/app"}}]}]}`

// injectedCatalog gives the tasks of a sidecar with a value of one parameter, or why not.
func injectedCatalog(t *testing.T, c *sidecar.Catalog, d *sidecar.Definition, p *sidecar.Parameter, text string) (any, string) {
	t.Helper()
	flags := with(d.Name)
	args := map[string]sidecar.Argument{p.Name: {Value: texted(p, text)}}
	for _, o := range d.Parameters {
		if o != p && o.Required() {
			args[o.Name] = sidecar.Argument{Value: o.Sample()}
		}
	}
	if d.Name == "config-reloader" {
		args["app_task"] = sidecar.Argument{Value: cty.StringVal("app")}
		switch p.Name {
		case "template", "source", "values":
		default:
			args["source"] = sidecar.Argument{Value: cty.StringVal("/x")}
		}
		if p.Name == "values" {
			args["template"] = sidecar.Argument{Value: cty.StringVal("x")}
		}
		args[p.Name] = sidecar.Argument{Value: texted(p, text)}
	}
	if o := parameterOf(d, "templates"); d.Name == "vault-agent" && o != p {
		args[o.Name] = sidecar.Argument{Value: o.Sample()}
	}
	flags.Params = map[string]map[string]sidecar.Argument{d.Name: args}
	f := parseJSON(t, []byte(catalogJob), c)
	choices, diags := templater.Choose(f.Job(), c, flags)
	if diags.HasErrors() {
		return nil, diags.Error()
	}
	edits, diags := templater.Plan(f.Job(), choices)
	if diags.HasErrors() {
		return nil, diags.Error()
	}
	out, diags := f.Apply(edits)
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	return decode(t, out), ""
}

func parameterOf(d *sidecar.Definition, name string) *sidecar.Parameter {
	for _, p := range d.Parameters {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// onlyValues compares two jobs: they differ in whole strings only, that hold the values
// and nothing else but a constant before them.
func onlyValues(t *testing.T, parameter string, before, after any, good, text string) {
	t.Helper()
	switch a := after.(type) {
	case map[string]any:
		b, ok := before.(map[string]any)
		must.True(t, ok && len(a) == len(b), must.Sprintf("%s: other fields with %q", parameter, text))
		for k := range a {
			if k == job.MarkAdded {
				continue // names a service, in JSON
			}
			if k == "EmbeddedTmpl" && !reflect.DeepEqual(a[k], b[k]) {
				switch {
				case templates()[parameter]:
					must.Eq[any](t, text, a[k])
				case programs[parameter]:
					must.StrNotContains(t, text, "{{", must.Sprint(parameter))
				default:
					if !harmless.MatchString(text) {
						t.Errorf("%s changes a template with %q", parameter, text)
					}
				}
				continue
			}
			onlyValues(t, parameter, b[k], a[k], good, text)
		}
	case []any:
		b, ok := before.([]any)
		must.True(t, ok && len(a) == len(b), must.Sprintf("%s: other lists with %q", parameter, text))
		for i := range a {
			onlyValues(t, parameter, b[i], a[i], good, text)
		}
	default:
		if reflect.DeepEqual(before, after) {
			return
		}
		got, ok := after.(string)
		must.True(t, ok)
		around, found := strings.CutSuffix(got, text)
		rest := ""
		if !found {
			around, rest, found = strings.Cut(got, text)
		}
		if parameter == "oauth2-proxy.public_paths" {
			good = escapedDots(good)
			around, rest, found = strings.Cut(got, escapedDots(text))
		}
		if !found || around+good+rest != before {
			t.Errorf("%s: %q became %q with %q", parameter, before, got, text)
		} else if !constants[around] || (rest != "" && !harmless.MatchString(text)) {
			t.Errorf("%s: %q around %q", parameter, around+"…"+rest, text)
		}
	}
}

// escapedDots is how oauth2-proxy gets a path, in a regular expression.
func escapedDots(path string) string { return strings.ReplaceAll(path, ".", "[.]") }

// The one script of the catalog is told its values by the environment. Run with names
// that would do something in a shell, they do nothing.
func TestHostileValuesInTheScriptOfTLSProxy(t *testing.T) {
	c := &sidecar.Catalog{}
	must.False(t, c.Load(os.DirFS("../jobs/sidecars"), "").HasErrors())
	d := c.Find("tls-proxy")
	inst, diags := d.Evaluate(sidecar.Scope{Count: cty.NumberIntVal(1), AppTasks: []string{"app"}}, map[string]cty.Value{
		"app_port": cty.NumberIntVal(8080), "listen_port": cty.NumberIntVal(8443), "self_signed": cty.True, "server_name": cty.StringVal("x"),
		"image": cty.NullVal(cty.String), "share_pid": cty.False,
	})
	must.False(t, diags.HasErrors(), must.Sprint(diags))
	script := inst.Tasks[0].Body.Blocks("template")[0].Body.String("data")
	for _, name := range []string{"$(touch evil)", "`touch evil`", "x; touch evil", "x\ntouch evil\n", "\"; touch evil; \"", "' ; touch evil; '", "-subj", "* ?"} {
		dir, bin := t.TempDir(), t.TempDir()
		must.NoError(t, os.WriteFile(filepath.Join(dir, "start.sh"), []byte(script), 0o600))
		// openssl and nginx are programs that say what they were given.
		fake := "#!/bin/sh\nfor a in \"$@\"; do printf '[%s]\\n' \"$a\" >>\"$NOMAD_TASK_DIR/said\"; done\n"
		for _, program := range []string{"openssl", "nginx"} {
			must.NoError(t, os.WriteFile(filepath.Join(bin, program), []byte(fake), 0o700))
		}
		cmd := exec.Command("/bin/sh", filepath.Join(dir, "start.sh"))
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "NOMAD_TASK_DIR=" + dir, "NOMAD_ALLOC_DIR=" + dir, "NOMAD_SECRETS_DIR=" + dir, "TLS_SELF_SIGNED=true", "TLS_SERVER_NAME=" + name}
		out, err := cmd.CombinedOutput()
		must.NoError(t, err, must.Sprint(string(out)))
		said, err := os.ReadFile(filepath.Join(dir, "said"))
		must.NoError(t, err)
		must.StrContains(t, string(said), "[/CN="+name+"]\n")
		for _, where := range []string{dir, bin} {
			_, err = os.Stat(filepath.Join(where, "evil"))
			must.ErrorIs(t, err, os.ErrNotExist)
		}
	}
}

package cli

import (
	"flag"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shoenig/test/must"
)

// requests are the lines that roff does not take as text.
var requests = regexp.MustCompile(`(?m)^['.].*$`)

func TestManual_EveryCommandAndFlag(t *testing.T) {
	pages := Manual("1.2.3", time.Unix(1_700_000_000, 0))
	for name, factory := range (&Program{}).commands() {
		page := pages["nomad-sidecar-"+name+".1"]
		made, err := factory()
		must.NoError(t, err)
		made.(*completed).flags().VisitAll(func(f *flag.Flag) {
			must.StrContains(t, page, ".TP\n\\fB\\-"+strings.ReplaceAll(f.Name, "-", `\-`)+"\\fR", must.Sprint(name))
		})
		must.StrHasPrefix(t, ".TH NOMAD\\-SIDECAR\\-"+strings.ToUpper(name)+" 1 2023-11-14 \"nomad\\-sidecar 1.2.3\"", page)
		must.StrContains(t, pages["nomad-sidecar.1"], "\n.BR nomad\\-sidecar\\-"+name+" (1)\n")
		for _, request := range requests.FindAllString(page, -1) {
			must.RegexMatch(t, regexp.MustCompile(`^\.(TH .*|SH [A-Z ]+|TP|PP|nf|fi|RS 4|RE|BR nomad\\-sidecar \(1\))$`), request, must.Sprint(name))
		}
	}
	must.StrContains(t, pages["nomad-sidecar-inject.1"], ".SH EXIT STATUS\n.PP\n0 success")
	must.StrContains(t, pages["nomad-sidecar-get.1"], ".nf\ngit::https://HOST/REPO.git//FOLDER?ref=REF\n")
}

func TestManual_GroffAcceptsIt(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("needs groff")
	}
	for name, page := range Manual("1.2.3", time.Unix(0, 0)) {
		groff := exec.CommandContext(t.Context(), "groff", "-man", "-Tascii", "-ww", "-z")
		groff.Stdin = strings.NewReader(page)
		out, err := groff.CombinedOutput()
		must.NoError(t, err)
		must.Eq(t, "", string(out), must.Sprint(name))
	}
}

package cli

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
	"github.com/nomad-sidecar/nomad-sidecar/templater/kube"
)

// exitIncomplete is the exit code of import if the jobs lack something of the manifests.
const exitIncomplete = 3

type importCommand struct {
	p      *Program
	dir    string
	mhz    int
	fields bool
}

func (*importCommand) Synopsis() string { return "Translate Kubernetes manifests to jobs" }

func (c *importCommand) flags() *flag.FlagSet {
	fs := newFlags("import")
	fs.StringVar(&c.dir, "out", "", "`DIR` Write each job to a file in this folder, JOB.nomad.hcl, and the Secrets that it "+
		"reads to JOB.variable.json for nomad var put. Default is stdout, without Secrets.")
	fs.IntVar(&c.mhz, "core-mhz", kube.DefaultCoreMHz, "`MHZ` CPU in Nomad for one core of Kubernetes. Default is 1000: 100m is 100 MHz.")
	fs.BoolVar(&c.fields, "fields", false, "Print a table of all fields and of their translations, in Markdown.")
	return fs
}

func (c *importCommand) Help() string {
	return `Usage: nomad-sidecar import [options] FILE|-...

  Translates Kubernetes manifests to jobs for the pod driver: Pod, Deployment,
  StatefulSet, DaemonSet, Job and CronJob, with the Services, ConfigMaps, Secrets and
  PersistentVolumeClaims of the same files. Each part of a manifest that has no
  equivalent, or needs a decision, is reported, and a comment in the job.

` + flagHelp(c) + `

  Values of Secrets are not in a job: its templates read the Nomad variable that a
  comment in the job names.

  Exit codes: 0 everything is translated, 1 an error in the input, 2 wrong usage,
  3 the jobs are written, but something has no equivalent or needs a decision.`
}

func (c *importCommand) Run(args []string) int {
	paths, err := parse(c.flags(), args)
	switch {
	case err != nil:
		return c.p.usage(err)
	case c.fields && len(paths) == 0:
		return c.p.writeData(c.p.reporter(), []byte(kube.FieldTable()))
	case c.fields:
		return c.p.usage(errors.New("-fields takes no files"))
	case len(paths) == 0:
		return c.p.usage(errors.New("import takes files with manifests, or - for stdin; see nomad-sidecar import -help"))
	case c.mhz < 1 || c.mhz > 100_000:
		return c.p.usage(fmt.Errorf("-core-mhz %d: want a number from 1 to 100000", c.mhz))
	}
	r := c.p.reporter()
	files, diags := c.read(paths, r)
	if r.report(diags) {
		return exitError
	}
	result, diags := kube.Import(files, kube.Options{CoreMHz: c.mhz})
	if r.report(diags) {
		return exitError
	}
	if code := c.write(r, result.Jobs); code != exitDone {
		return code
	}
	for _, f := range result.Findings {
		r.report(hcl.Diagnostics{findingWarning(f)})
	}
	if len(result.Findings) > 0 {
		return exitIncomplete
	}
	return exitDone
}

func (c *importCommand) read(paths []string, r *reporter) (files []kube.Source, diags hcl.Diagnostics) {
	for _, path := range paths {
		src, name, err := c.p.read(path)
		if err != nil {
			diags = append(diags, failureOf("Cannot read", err)...)
			continue
		}
		r.know(sourceOf(name, src))
		files = append(files, kube.Source{Name: name, Bytes: src})
	}
	return files, diags
}

func findingWarning(f kube.Finding) *hcl.Diagnostic {
	summary := "Not translated"
	if f.Fate == kube.Decision {
		summary = "Needs a decision"
	}
	where := f.Document
	if f.Path != "" {
		where += ", " + f.Path
	}
	return &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: summary, Detail: fmt.Sprintf("%s: %s.", where, f.Text), Subject: f.Range.Ptr()}
}

// write writes the jobs to stdout, or to files.
func (c *importCommand) write(r *reporter, jobs []kube.Job) int {
	if c.dir != "" {
		if err := c.writeFiles(jobs); err != nil {
			r.report(failureOf("Cannot write", err))
			return exitError
		}
		return exitDone
	}
	var out []byte
	for i, j := range jobs {
		if i > 0 {
			out = append(out, '\n')
		}
		out = append(out, j.Text...)
	}
	return c.p.writeData(r, out)
}

// outFile is a file to write.
type outFile struct {
	path string
	text []byte
	mode fs.FileMode
}

// writeFiles writes the jobs, and the variables with their Secrets. It overwrites nothing.
func (c *importCommand) writeFiles(jobs []kube.Job) error {
	var files []outFile
	for _, j := range jobs {
		name := j.Name
		if j.Namespace != "" && j.Namespace != "default" {
			name = j.Namespace + "." + j.Name
		}
		files = append(files, outFile{filepath.Join(c.dir, name+".nomad.hcl"), j.Text, 0o644})
		if len(j.Secrets) == 0 {
			continue
		}
		text, err := variable(j)
		if err != nil {
			return err
		}
		files = append(files, outFile{filepath.Join(c.dir, name+".variable.json"), text, 0o600})
	}
	for _, f := range files {
		if _, err := os.Lstat(f.path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s already exists; remove it, or choose another folder", f.path)
		}
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := f.create(); err != nil {
			return err
		}
	}
	for _, f := range files {
		display.Fprintf(c.p.Stdout, "%s\n", f.path)
	}
	return nil
}

// variable returns a variable in the form of `nomad var put @FILE`.
func variable(j kube.Job) ([]byte, error) {
	v := struct {
		Namespace string `json:",omitempty"`
		Path      string
		Items     map[string]string
	}{j.Namespace, j.VariablePath, j.Secrets}
	text, err := json.MarshalIndent(v, "", "  ")
	return append(text, '\n'), err
}

func (f outFile) create() error {
	out, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	_, err = out.Write(f.text)
	return errors.Join(err, out.Close())
}

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nomad-sidecar/nomad-sidecar/test/internal/agent"
)

// maxWait bounds one part of the demo.
const maxWait = time.Minute

// show runs the example job and demonstrates each promise.
func (d *demo) show(ctx context.Context) error {
	alloc, err := d.runJob(ctx)
	if err != nil {
		return err
	}
	steps := []func(context.Context, *api.Allocation) error{
		d.showPage, d.showProcesses, d.showNamespaces, d.showFile,
	}
	for _, step := range steps {
		ctx, cancel := context.WithTimeout(ctx, maxWait)
		err := step(ctx, alloc)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// describeDriver prints the driver's fingerprint of this machine.
func (d *demo) describeDriver() error {
	nodes, _, err := d.Client().Nodes().List(nil)
	if err != nil || len(nodes) == 0 {
		return fmt.Errorf("list nodes: %w", err)
	}
	node, _, err := d.Client().Nodes().Info(nodes[0].ID, nil)
	if err != nil {
		return fmt.Errorf("read node: %w", err)
	}
	driver := node.Drivers["pod"]
	fmt.Fprintf(d.out, "  %s at %s; driver pod: %s\n", d.Nomad(), d.Address(), driver.HealthDescription)
	for _, key := range []string{"runtime", "runtime.version", "conmon", "cgroup"} {
		if value := node.Attributes["driver.pod."+key]; value != "" {
			fmt.Fprintf(d.out, "  driver.pod.%s = %s\n", key, value)
		}
	}
	return nil
}

func (d *demo) runJob(ctx context.Context) (*api.Allocation, error) {
	const job = "jobs/examples/web.nomad.hcl"
	d.heading("nomad-sidecar inject " + job + " | nomad job run -")
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	inject := exec.CommandContext(ctx, filepath.Join(d.repo, "bin", "nomad-sidecar"), "inject", filepath.Join(d.repo, job))
	var stderr bytes.Buffer
	inject.Stderr = &stderr
	hcl, err := inject.Output()
	if err != nil {
		return nil, fmt.Errorf("inject: %w: %s", err, &stderr)
	}
	alloc, err := d.RunJob(ctx, string(hcl))
	if err != nil {
		return nil, err
	}
	alloc, err = d.WaitRunning(ctx, alloc.ID)
	if err != nil {
		return nil, err
	}
	for name, state := range alloc.TaskStates {
		fmt.Fprintf(d.out, "  task %-10s %s\n", name, state.State)
	}
	return alloc, nil
}

func (d *demo) showPage(ctx context.Context, alloc *api.Allocation) error {
	url, err := address("https", alloc, "https")
	if err != nil {
		return err
	}
	d.heading("The app speaks plain HTTP on loopback only; " + url + " answers with TLS")
	page, err := fetch(ctx, url, "<html")
	if err != nil {
		return err
	}
	d.quote(page, 12)
	return nil
}

func (d *demo) showProcesses(ctx context.Context, alloc *api.Allocation) error {
	url, err := address("http", alloc, "topz")
	if err != nil {
		return err
	}
	url += "/api/processes"
	d.heading("topz, a sidecar, sees the app's processes at " + url)
	text, err := fetch(ctx, url, "/webapp ", "nginx: ")
	if err != nil {
		return err
	}
	var list struct {
		Processes []struct {
			PID           int
			Task, User    string
			Name, Command string
			MemoryBytes   int64   `json:"memory_bytes"`
			CPUSeconds    float64 `json:"cpu_seconds"`
		}
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	for _, p := range list.Processes {
		row, err := json.Marshal(p)
		if err != nil {
			return err
		}
		fmt.Fprintf(d.out, "  %s\n", row)
	}
	return nil
}

// showNamespaces prints the namespaces of each task.
func (d *demo) showNamespaces(ctx context.Context, alloc *api.Allocation) error {
	d.heading("All tasks are in the same namespaces")
	for _, kind := range []string{"net", "ipc", "uts", "pid"} {
		links := map[string]bool{}
		fmt.Fprintf(d.out, "  %s ", kind)
		for _, task := range []string{"app", "tls-proxy", "topz"} {
			result, err := d.Exec(ctx, alloc, task, "readlink", "/proc/self/ns/"+kind)
			if err != nil {
				return err
			}
			link := strings.TrimSpace(result.Stdout)
			if result.Code != 0 || link == "" {
				return fmt.Errorf("read namespace of %s: exit code %d: %s", task, result.Code, result.Stderr)
			}
			links[link] = true
			fmt.Fprintf(d.out, " %s %s", task, link)
		}
		fmt.Fprintln(d.out)
		if len(links) != 1 {
			return fmt.Errorf("the tasks do not share their %s namespace", kind)
		}
	}
	return nil
}

func (d *demo) showFile(ctx context.Context, alloc *api.Allocation) error {
	d.heading("The app wrote /alloc/hello.txt; tls-proxy, a sidecar, reads it")
	result, err := d.Exec(ctx, alloc, "tls-proxy", "cat", "/alloc/hello.txt")
	if err != nil {
		return err
	}
	if result.Code != 0 || result.Stdout == "" {
		return fmt.Errorf("read the app's file: exit code %d: %s", result.Code, result.Stderr)
	}
	d.quote(result.Stdout, 3)
	return nil
}

// address returns the URL of a labelled port of the host.
func address(scheme string, alloc *api.Allocation, label string) (string, error) {
	for _, port := range alloc.AllocatedResources.Shared.Ports {
		if port.Label == label {
			return fmt.Sprintf("%s://%s:%d", scheme, port.HostIP, port.Value), nil
		}
	}
	return "", fmt.Errorf("the allocation has no port %q", label)
}

// fetch returns a page once it is served and contains the texts.
func fetch(ctx context.Context, url string, texts ...string) (string, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		// The example's certificate is self-signed.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	var page string
	err := agent.Until(ctx, url+" is served", func() (err error) {
		if page, err = get(ctx, client, url); err != nil {
			return err
		}
		for _, text := range texts {
			if !strings.Contains(strings.ToLower(page), text) {
				return fmt.Errorf("no %q in %s", text, page)
			}
		}
		return nil
	})
	return page, err
}

func get(ctx context.Context, client http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return string(body), err
}

// quote prints at most the given number of lines of a text, indented.
func (d *demo) quote(text string, lines int) {
	rows := strings.Split(strings.TrimSpace(text), "\n")
	if len(rows) > lines {
		rows = append(rows[:lines], fmt.Sprintf("… %d more lines", len(rows)-lines))
	}
	for _, row := range rows {
		fmt.Fprintf(d.out, "  | %s\n", row)
	}
}

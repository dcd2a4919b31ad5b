package cluster

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
)

// podDriver is the name of the driver that can pull images in advance.
const podDriver = "pod"

// pulledImage has the keys of a task's config that say how to pull an image.
type pulledImage struct {
	task   string // GROUP/TASK, for messages
	driver string
	config map[string]any // image, platform, auth, image_pull_policy, force_pull, image_pull_timeout
}

func (i pulledImage) reference() string { return fmt.Sprint(i.config["image"]) }

// asksAlways reports whether the registry is asked at each start, so that the same name may be
// another image.
func (i pulledImage) asksAlways() bool {
	return i.config["force_pull"] == true || i.config["image_pull_policy"] == "always"
}

// taskImages returns the images of the tasks of a job in JSON: their roots and mounts.
func taskImages(raw []byte) ([]pulledImage, error) {
	var job struct {
		TaskGroups []struct {
			Name  string
			Tasks []struct {
				Name, Driver string
				Config       map[string]any
			}
		}
	}
	if err := json.Unmarshal(raw, &job); err != nil {
		return nil, fmt.Errorf("read the job: %w", err)
	}
	var out []pulledImage
	for _, g := range job.TaskGroups {
		for _, t := range g.Tasks {
			name := g.Name + "/" + t.Name
			if t.Config["image"] != nil {
				out = append(out, pulledImage{name, t.Driver, picked(t.Config, "image", "platform", "image_pull_policy", "force_pull", "image_pull_timeout", "auth")})
			}
			for _, m := range append(blocks(t.Config["mount"]), blocks(t.Config["mounts"])...) {
				if m["type"] != "image" || t.Driver != podDriver {
					continue
				}
				config := picked(m, "image_pull_policy", "auth")
				config["image"] = m["source"]
				for key, value := range picked(t.Config, "platform", "image_pull_timeout") {
					config[key] = value
				}
				out = append(out, pulledImage{name, t.Driver, config})
			}
		}
	}
	return out, nil
}

func picked(from map[string]any, keys ...string) map[string]any {
	out := map[string]any{}
	for _, key := range keys {
		if v, ok := from[key]; ok {
			out[key] = v
		}
	}
	return out
}

// blocks returns the blocks of a key, which Nomad stores as one object or as a list.
func blocks(v any) (out []map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		return []map[string]any{v}
	case []any:
		for _, one := range v {
			out = append(out, blocks(one)...)
		}
	}
	return out
}

// newImages returns the images of the job next that a node which runs the job now may lack, and a
// line for each image that cannot be pulled in advance. Nothing is guessed: values that a client
// sets when it starts a task are unknown.
func newImages(now, next []byte) (images []pulledImage, left []string, err error) {
	running, err := taskImages(now)
	if err != nil {
		return nil, nil, err
	}
	wanted, err := taskImages(next)
	if err != nil {
		return nil, nil, err
	}
	has := map[string]bool{}
	for _, i := range running {
		has[i.source()] = true
	}
	seen := map[string]bool{}
	for _, i := range wanted {
		key, err := json.Marshal(i.config)
		if err != nil {
			return nil, nil, fmt.Errorf("read the job: %w", err)
		}
		if has[i.source()] && !i.asksAlways() || seen[string(key)] {
			continue
		}
		seen[string(key)] = true
		if why := i.unpullable(); why != "" {
			left = append(left, fmt.Sprintf("the image of task %s is not pulled in advance: %s", i.task, why))
			continue
		}
		images = append(images, i)
	}
	return images, left, nil
}

// source identifies an image by its name and platform.
func (i pulledImage) source() string {
	return fmt.Sprintf("%s %v", i.reference(), i.config["platform"])
}

// unpullable returns why an image cannot be pulled in advance, or "".
func (i pulledImage) unpullable() string {
	if i.driver != podDriver {
		return fmt.Sprintf("only the driver %q can do that, and the task's is %q", podDriver, i.driver)
	}
	for key, value := range i.config {
		text, err := json.Marshal(value)
		if err != nil || strings.Contains(string(text), "${") {
			return key + " is known only to the client that starts the task; use a literal value"
		}
	}
	if transport, path, _ := strings.Cut(i.reference(), ":"); strings.HasPrefix(transport, "oci") || transport == "docker-archive" {
		if !filepath.IsAbs(path) {
			return "its files are fetched when the task starts"
		}
	}
	return ""
}

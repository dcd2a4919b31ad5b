package image_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/shoenig/test/must"

	"github.com/nomad-sidecar/nomad-sidecar/driver/image"
)

// replaceConfig replaces the config of the only image in an OCI layout.
func replaceConfig(t *testing.T, dir string, change func(config string) string) {
	t.Helper()
	read := func(name string, into any) string {
		content, err := os.ReadFile(filepath.Join(dir, name))
		must.NoError(t, err)
		must.NoError(t, json.Unmarshal(content, into))
		return string(content)
	}
	blob := func(h v1.Hash) string { return filepath.Join("blobs", h.Algorithm, h.Hex) }
	put := func(content string) (digest string) {
		digest = fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
		must.NoError(t, os.WriteFile(filepath.Join(dir, "blobs/sha256", digest), []byte(content), 0o600))
		return digest
	}
	var index v1.IndexManifest
	indexText := read("index.json", &index)
	var manifest v1.Manifest
	manifestText := read(blob(index.Manifests[0].Digest), &manifest)
	config := change(read(blob(manifest.Config.Digest), &struct{}{}))

	manifestText = strings.NewReplacer(manifest.Config.Digest.Hex, put(config),
		fmt.Sprintf(`"size":%d`, manifest.Config.Size), fmt.Sprintf(`"size":%d`, len(config))).Replace(manifestText)
	indexText = strings.NewReplacer(index.Manifests[0].Digest.Hex, put(manifestText),
		fmt.Sprintf(`"size": %d`, index.Manifests[0].Size), fmt.Sprintf(`"size": %d`, len(manifestText)),
		fmt.Sprintf(`"size":%d`, index.Manifests[0].Size), fmt.Sprintf(`"size":%d`, len(manifestText))).Replace(indexText)
	must.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), []byte(indexText), 0o600))
}

// TestEnsure_BrokenConfig checks that the error describes the mistake in the config without its
// content.
func TestEnsure_BrokenConfig(t *testing.T) {
	h, _ := hubHome(t)
	s := h.open(t)
	img := hello(t, "a")
	id, err := img.Layers()
	must.NoError(t, err)
	diffID, err := id[0].DiffID()
	must.NoError(t, err)
	for name, c := range map[string]struct {
		change func(config string) string
		says   string
	}{
		"not JSON": {func(string) string { return "canary{" }, "its manifest or config, or an answer of the registry, is not JSON"},
		"cut":      {func(config string) string { return config[:len(config)/2] }, "is not JSON"},
		"text for Cmd": {func(config string) string {
			return strings.Replace(config, `"config":{`, `"config":{"Cmd":"canary","x":{`, 1) + "}"
		}, "wrong type at config.Cmd: JSON string"},
		"map for Env": {func(config string) string {
			return strings.Replace(config, `"config":{`, `"config":{"Env":{"canary":1},"x":{`, 1) + "}"
		}, "wrong type at config.Env: JSON object"},
		"diff_id": {func(config string) string { return strings.ReplaceAll(config, diffID.Hex, strings.Repeat("0", 64)) },
			"the content of layer 0, counted from 0, does not match its diff_id in the config"},
		"no diff_ids": {func(config string) string { return strings.Replace(config, `"sha256:`+diffID.Hex+`"`, "", 1) },
			"it has 1 layers, but its config lists 0 of them in rootfs.diff_ids; rebuild the image"},
		"two diff_ids": {func(config string) string {
			id := `"sha256:` + diffID.Hex + `"`
			return strings.Replace(config, id, id+","+id, 1)
		}, "it has 1 layers, but its config lists 2 of them"},
		"no rootfs": {func(config string) string { return strings.Replace(config, `"rootfs"`, `"canary"`, 1) },
			"its config lists 0 of them in rootfs.diff_ids"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "layout")
			ociLayout(t, dir, map[string]v1.Image{"a": img})
			replaceConfig(t, dir, c.change)
			_, err := s.Ensure(testContext(t), parse(t, "oci:"+dir+":a"), image.PullOptions{})
			must.ErrorIs(t, err, image.ErrInvalidImage)
			must.ErrorContains(t, err, c.says)
			must.StrNotContains(t, err.Error(), "canary")
			t.Log(err)
		})
	}
}

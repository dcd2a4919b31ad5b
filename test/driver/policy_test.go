package driver_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoenig/test/must"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/signature/sigstore"
	"go.podman.io/image/v5/types"

	"github.com/nomad-sidecar/nomad-sidecar/driver"
	"github.com/nomad-sidecar/nomad-sidecar/test/shared/testimage"
)

// runImage runs an image with a program that exits immediately.
func (n *node) runImage(t *testing.T, task, image string) {
	t.Helper()
	tk := n.newTask("", task, driver.TaskConfig{Image: image}, nil)
	tk.start()
	must.Eq(t, 0, tk.wait().ExitCode)
}

func written(t *testing.T, file, text string) string {
	t.Helper()
	must.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

// TestPull_MirrorsWithoutTLS checks that images are fetched from the mirrors in registries.conf
// under the job's name, and that edits of the file take effect without a restart of the plugin.
func TestPull_MirrorsWithoutTLS(t *testing.T) {
	host := plainRegistry(t)
	pushed(t, host+"/copies/app:v1")
	conf := filepath.Join(t.TempDir(), "registries.conf")
	withOneRuntime(t, func(t *testing.T, runtime string) {
		written(t, conf, "[[registry]]\nlocation = \"127.0.0.1:1\"\n")
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Image.RegistriesConf = runtime, conf })
		_, _, err := n.StartTask(n.newTask("", "early", driver.TaskConfig{Image: "127.0.0.1:1/team/app:v1"}, nil).TaskConfig)
		must.ErrorContains(t, err, "127.0.0.1:1")
		_, _, err = n.StartTask(n.newTask("", "plain", driver.TaskConfig{Image: host + "/copies/app:v1"}, nil).TaskConfig)
		must.ErrorContains(t, err, "set insecure = true for it in registries.conf")

		written(t, conf, fmt.Sprintf(`[[registry]]
prefix = "127.0.0.1:1/team"
location = "127.0.0.1:1/team"

[[registry.mirror]]
location = "%s/copies"
insecure = true
`, host))
		n.runImage(t, "mirrored", "127.0.0.1:1/team/app:v1")
	})
}

// TestSignaturePolicy checks that only images signed with the policy's key are accepted.
func TestSignaturePolicy(t *testing.T) {
	host := plainRegistry(t)
	trustWithoutTLS(t, host)
	home := t.TempDir()
	t.Setenv("HOME", home)
	written(t, filepath.Join(home, ".config/containers/registries.d/all.yaml"), "default-docker:\n  use-sigstore-attachments: true\n")
	ours, theirs := keyPair(t), keyPair(t)
	signed := sign(t, pushed(t, host+"/unsigned:v1"), host+"/signed:v1", ours)
	forged := sign(t, host+"/unsigned:v1", host+"/forged:v1", theirs)
	layout := testimage.Layout(t, t.TempDir(), scratch(t))
	policy := written(t, filepath.Join(t.TempDir(), "policy.json"), fmt.Sprintf(
		`{"default": [{"type": "reject"}], "transports": {"docker": {%q: [{"type": "sigstoreSigned", "keyPath": %q}]}}}`,
		host, ours+".pub"))

	withOneRuntime(t, func(t *testing.T, runtime string) {
		n := newNode(t, func(c *driver.PluginConfig) { c.Runtime, c.Image.SignaturePolicy = runtime, policy })
		n.runImage(t, "signed", signed)
		for _, refused := range []string{host + "/unsigned:v1", forged, layout} {
			_, _, err := n.StartTask(n.newTask("", "refused", driver.TaskConfig{Image: refused}, nil).TaskConfig)
			must.ErrorContains(t, err, "rejected by the signature policy", must.Sprint(refused))
			must.ErrorContains(t, err, refused)
		}
	})
}

// keyPair creates a key pair and returns the path of the private key. The public key is beside it.
func keyPair(t *testing.T) string {
	t.Helper()
	pair, err := sigstore.GenerateKeyPair([]byte{})
	must.NoError(t, err)
	file := written(t, filepath.Join(t.TempDir(), "key"), string(pair.PrivateKey))
	written(t, file+".pub", string(pair.PublicKey))
	return file
}

// sign copies an image to another name and signs the copy.
func sign(t *testing.T, from, to, key string) string {
	t.Helper()
	source, err := docker.ParseReference("//" + from)
	must.NoError(t, err)
	target, err := docker.ParseReference("//" + to)
	must.NoError(t, err)
	with, err := sigstore.NewSigner(sigstore.WithPrivateKeyFile(key, []byte{}))
	must.NoError(t, err)
	defer func() { must.NoError(t, with.Close()) }()
	anything, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	must.NoError(t, err)
	defer func() { must.NoError(t, anything.Destroy()) }()
	plain := &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue, BlobInfoCacheDir: t.TempDir()}
	_, err = copy.Image(context.Background(), anything, target, source, &copy.Options{
		SourceCtx: plain, DestinationCtx: plain, Signers: []*signer.Signer{with}})
	must.NoError(t, err)
	return to
}

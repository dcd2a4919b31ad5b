package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

var (
	errNotFound = errors.New("not found")
	errDigest   = errors.New("mismatched digest: the registry returned other content")
)

// manifestTypes are the media types that a registry may return for a manifest. Indexes
// are requested to report that they are not supported.
var manifestTypes = []string{
	v1.MediaTypeImageManifest, v1.MediaTypeImageIndex,
	"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
}

// registryClient reads from a repository of a registry. It sends requests itself, since
// package remote reads manifests of 100 MiB, follows redirects without limit and quotes
// answers in errors.
type registryClient struct {
	repository name.Repository
	client     *http.Client
}

// connect negotiates the authentication, with the credentials of docker login.
func connect(ctx context.Context, of name.Repository) (*registryClient, error) {
	auth, err := credentials(of.RegistryStr())
	if err != nil {
		return nil, fmt.Errorf("read the credentials of registries: %w", err)
	}
	c := client()
	c.Transport, err = transport.NewWithContext(ctx, of.Registry, auth, bounded{c.Transport}, []string{of.Scope(transport.PullScope)})
	if err != nil {
		return nil, withoutAnswer(err)
	}
	return &registryClient{repository: of, client: c}, nil
}

// credentials reads the files of docker login. authn.DefaultKeychain would also read
// containers/auth.json in the working directory, and run the program that it names.
func credentials(registry string) (authn.Authenticator, error) {
	logins, err := config.Load(os.Getenv(config.EnvOverrideConfigDir))
	if err != nil {
		return nil, err
	}
	login, err := logins.GetAuthConfig(registry)
	if err != nil {
		return nil, err
	}
	login.ServerAddress = "" // set even if there is no login
	if login == (types.AuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: login.Username, Password: login.Password, Auth: login.Auth,
		IdentityToken: login.IdentityToken, RegistryToken: login.RegistryToken,
	}), nil
}

// layers returns the layers and the digest of a manifest. version is its tag or digest.
func (r *registryClient) layers(ctx context.Context, version string) ([]v1.Descriptor, string, error) {
	body, err := r.get(ctx, "manifests", version, manifestTypes...)
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxManifestBytes+1))
	if err != nil {
		return nil, "", err
	}
	if len(text) > maxManifestBytes {
		return nil, "", fmt.Errorf("the manifest has more than %d bytes", maxManifestBytes)
	}
	sum := digest.FromBytes(text)
	if want, err := digest.Parse(version); err == nil {
		if sum = want.Algorithm().FromBytes(text); sum != want {
			return nil, "", fmt.Errorf("manifest %s: %w", want, errDigest)
		}
	}
	layers, err := parseLayers(text)
	if err != nil {
		return nil, "", fmt.Errorf("manifest %s: %w", sum, err)
	}
	return layers, sum.String(), nil
}

func parseLayers(text []byte) ([]v1.Descriptor, error) {
	var manifest struct {
		Manifests json.RawMessage `json:"manifests"`
		v1.Manifest
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, err
	}
	if manifest.Manifests != nil {
		return nil, fmt.Errorf("it is an index of several artifacts: pass the digest of one, oci://REGISTRY/REPO@sha256:…")
	}
	if len(manifest.Layers) == 0 || len(manifest.Layers) > maxLayers {
		return nil, fmt.Errorf("it has %d layers: a catalog has 1 to %d", len(manifest.Layers), maxLayers)
	}
	return manifest.Layers, nil
}

// get requests a manifest or a blob.
func (r *registryClient) get(ctx context.Context, kind, reference string, accept ...string) (io.ReadCloser, error) {
	u := url.URL{
		Scheme: r.repository.Scheme(), Host: r.repository.RegistryStr(),
		Path: "/v2/" + r.repository.RepositoryStr() + "/" + kind + "/" + reference,
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", strings.Join(accept, ", "))
	response, err := r.client.Do(request)
	if err != nil {
		return nil, withoutAnswer(err)
	}
	switch response.StatusCode {
	case http.StatusOK:
		return response.Body, nil
	case http.StatusNotFound:
		err = fmt.Errorf("%s in %s: %w", reference, r.repository, errNotFound)
	default:
		err = statusError(response.Request, response.StatusCode)
	}
	return nil, errors.Join(err, response.Body.Close())
}

// withoutAnswer returns an error without the text of an answer, which may be long, or
// come from a host that the registry redirects to.
func withoutAnswer(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n") // transport quotes answers after a line break
	var answer *transport.Error
	var failed *url.Error
	if errors.As(err, &answer) && answer.Request != nil {
		text = statusError(answer.Request, answer.StatusCode).Error()
		// A loopback registry is tried by HTTPS and HTTP: one may fail and the other answer.
		if errors.As(err, &failed) && !errors.Is(failed, http.ErrSchemeMismatch) {
			text = failed.Error() + "; " + text
		}
	}
	if len(text) > maxErrorBytes {
		text = strings.ToValidUTF8(text[:maxErrorBytes], "") + "…"
	}
	return scrubbed{text, err}
}

const maxErrorBytes = 1000

func statusError(r *http.Request, code int) error {
	u := *r.URL
	u.RawQuery = "" // may hold credentials for a storage service
	err := fmt.Errorf("%s %q: response status code %d: %s", r.Method, u.Redacted(), code, http.StatusText(code))
	if code == http.StatusUnauthorized {
		return fmt.Errorf("%w: check the credentials with docker login or oras login", err)
	}
	return err
}

// bounded limits the size of every response, since transport drains some of any size.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err == nil {
		body := response.Body
		response.Body = struct {
			io.Reader
			io.Closer
		}{&counted{r: body, left: maxDownloadBytes}, body}
	}
	return response, err
}

package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
)

// maxLayers exceeds the number of layers that overlay can mount.
const maxLayers = 500

// dockerArchive reads an image written by docker save. Such an archive has no image manifest,
// so dockerArchive creates one, with the digest of each layer's file.
type dockerArchive struct {
	pathSource
	manifest []byte
	config   []byte
	layers   map[digest.Digest]string // names in the archive
}

// dockerItem is an image in the archive's manifest.json.
type dockerItem struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func newDockerArchive(ctx context.Context, from files, ref pathReference) (*dockerArchive, error) {
	item, err := chooseItem(ctx, from, ref.Reference)
	if err != nil {
		return nil, err
	}
	a := &dockerArchive{pathSource: pathSource{ref, from}, layers: map[digest.Digest]string{}}
	if a.config, err = readSmall(ctx, from, item.Config, maxSmallBytes); err != nil {
		return nil, missingPart(err)
	}
	m := manifest.Schema2{
		SchemaVersion: 2, MediaType: manifest.DockerV2Schema2MediaType,
		ConfigDescriptor: manifest.Schema2Descriptor{
			MediaType: manifest.DockerV2Schema2ConfigMediaType, Size: int64(len(a.config)), Digest: digest.FromBytes(a.config),
		},
	}
	known := map[string]manifest.Schema2Descriptor{}
	for _, name := range item.Layers {
		d, ok := known[name]
		if !ok {
			if d, err = describeLayer(ctx, from, name); err != nil {
				return nil, err
			}
			known[name], a.layers[d.Digest] = d, name
		}
		m.LayersDescriptors = append(m.LayersDescriptors, d)
	}
	a.manifest, err = json.Marshal(m)
	return a, err
}

func chooseItem(ctx context.Context, from files, ref Reference) (dockerItem, error) {
	body, err := readSmall(ctx, from, "manifest.json", maxSmallBytes)
	if err != nil {
		return dockerItem{}, missingPart(err)
	}
	var items []dockerItem
	if err := json.Unmarshal(body, &items); err != nil {
		return dockerItem{}, invalid("manifest.json is not valid JSON")
	}
	i := 0
	switch index, byIndex := strings.CutPrefix(ref.tag, "@"); {
	case byIndex:
		i, err = strconv.Atoi(index)
	case ref.tag != "":
		named, perr := reference.ParseNormalizedNamed(ref.tag)
		if perr != nil {
			return dockerItem{}, perr // the reference, checked before
		}
		i = slices.IndexFunc(items, func(item dockerItem) bool { return item.has(reference.TagNameOnly(named)) })
	case len(items) > 1:
		return dockerItem{}, &plainError{ErrInvalidReference,
			"it holds several images; write the name or index of one after the path, as in " + ref.String() + ":@0"}
	}
	if err != nil || i < 0 || i >= len(items) {
		return dockerItem{}, &plainError{ErrNotFound, "it has no such image; check the name after the path"}
	}
	if len(items[i].Layers) > maxLayers {
		return dockerItem{}, invalid("it has %d layers, more than the %d allowed", len(items[i].Layers), maxLayers)
	}
	return items[i], nil
}

func (i dockerItem) has(named reference.Named) bool {
	return slices.ContainsFunc(i.RepoTags, func(tag string) bool {
		have, err := reference.ParseNormalizedNamed(tag)
		return err == nil && have.String() == named.String()
	})
}

// describeLayer reads a layer once to compute its digest.
func describeLayer(ctx context.Context, from files, name string) (manifest.Schema2Descriptor, error) {
	s, err := from.open(name)
	if err != nil {
		return manifest.Schema2Descriptor{}, missingPart(err)
	}
	defer s.Close()
	d, err := digest.FromReader(&checkedReader{ctx: ctx, from: io.NewSectionReader(s, 0, s.size)})
	if err != nil {
		return manifest.Schema2Descriptor{}, shortRead(err)
	}
	// image/v5 detects the compression from the first bytes.
	return manifest.Schema2Descriptor{MediaType: manifest.DockerV2Schema2LayerMediaType, Size: s.size, Digest: d}, nil
}

func missingPart(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return invalid("it is not an archive of docker save: manifest.json, or a file that it names, is missing")
	}
	return err
}

// GetManifest returns the manifest; there is no index.
func (a *dockerArchive) GetManifest(_ context.Context, instance *digest.Digest) ([]byte, string, error) {
	if instance != nil {
		return nil, "", invalid("it has no manifest %s", *instance)
	}
	return a.manifest, manifest.DockerV2Schema2MediaType, nil
}

// GetBlob opens a layer or the config.
func (a *dockerArchive) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if name, ok := a.layers[info.Digest]; ok {
		return openBlob(ctx, a.files, name, info.Digest, info.Size)
	}
	if info.Digest == digest.FromBytes(a.config) {
		return io.NopCloser(bytes.NewReader(a.config)), int64(len(a.config)), nil
	}
	return nil, 0, invalid("it has no blob %s", info.Digest)
}

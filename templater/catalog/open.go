package catalog

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashicorp/hcl/v2"

	"github.com/nomad-sidecar/nomad-sidecar/templater/sidecar"
)

// Open reads the copy that the lock pins into a catalog. A missing or modified copy is
// an error with instructions. It does not use the network.
func Open(into *sidecar.Catalog, c Cache, lock *Lock, a Address) hcl.Diagnostics {
	get := fmt.Sprintf("nomad-sidecar get -catalog '%s'", a)
	entry := lock.Entries[a.String()]
	if entry == nil {
		return failure("Catalog not fetched", fmt.Sprintf("%s is not in %s of this folder. Fetch it: %s", a, LockName, get), hcl.Range{})
	}
	files, err := c.Read(entry.Content)
	if errors.Is(err, fs.ErrNotExist) {
		return failure("Catalog not fetched", fmt.Sprintf("%s is locked to %s, but the cache %s does not have it. Fetch it: %s", a, entry.From(), c.Dir, get), entry.Range)
	}
	if err != nil {
		return failure("Cannot read the catalog", err.Error()+".", entry.Range)
	}
	digest, err := files.Digest()
	if err != nil {
		return failure("Cannot read the catalog", err.Error()+".", entry.Range)
	}
	if digest != entry.Content {
		return c.tampered(a, entry, get)
	}
	return c.load(into, entry.Content)
}

// tampered describes how the cached copy differs from the lock.
func (c Cache) tampered(a Address, entry *Entry, get string) hcl.Diagnostics {
	folder, _ := c.Folder(entry.Content) // valid, since the lock was parsed
	now := &sidecar.Catalog{}
	var changes []string
	if diags := c.load(now, entry.Content); diags.HasErrors() {
		changes = append(changes, diags[0].Error())
	}
	changes = append(changes, differences(side{entry.Sidecars, c.definitions()}, sideOf(now))...)
	return failure("Catalog differs from the lock", fmt.Sprintf("The copy of %s in %s was changed after it was fetched:\n\n%s\n\nFetch it again: %s",
		a, folder, indent(orText(changes)), get), entry.Range)
}

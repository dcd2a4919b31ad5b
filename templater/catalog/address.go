package catalog

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/hashicorp/go-getter/v2"
	"github.com/opencontainers/go-digest"
)

// Kind is the method by which the catalog at an address is fetched.
type Kind string

// The kinds of addresses.
const (
	Git     Kind = "git"
	Archive Kind = "archive"
	OCI     Kind = "oci"
)

// forms is appended to errors about an address.
const forms = "An address is git::https://HOST/REPO.git//FOLDER?ref=REF (or git::ssh://, git::file://), https://HOST/FILE.tar.gz//FOLDER (or .tgz, .tar, .zip; ?checksum=sha256:…), or oci://REGISTRY/REPO:TAG//FOLDER"

// hidden replaces possible credentials, as in url.URL.Redacted.
const hidden = "xxxxx"

// Address is the address of a catalog, in go-getter's syntax or oci://.
type Address struct {
	Kind Kind

	name    string // shown in messages and used in the lock
	url     string // with credentials, without the folder and our own query parameters
	folder  string // "" for the root
	ref     string // of git; "" for the default branch
	format  string // of an archive
	image   name.Repository
	version string // of an image: its tag or digest
	partial bool   // the name lacks a value that is needed to fetch
	secrets []string
}

// String returns the address without credentials: user and password are omitted, and
// values of unknown query parameters are replaced by xxxxx. It is also the address's
// name in the lock, so that it is the same for every user.
func (a Address) String() string { return a.name }

var forced = regexp.MustCompile(`^([A-Za-z0-9]+)::(.+)$`)

// IsAddress distinguishes addresses from paths of folders.
func IsAddress(text string) bool {
	return strings.Contains(text, "://") || forced.MatchString(text)
}

// Parse parses an address. Its errors show only the parts of the address that String shows.
func Parse(text string) (Address, error) {
	rest, getterName := text, ""
	if m := forced.FindStringSubmatch(text); m != nil {
		getterName, rest = m[1], m[2]
	}
	source, folder := getter.SourceDirSubdir(rest)
	if getterName == "git" && !strings.Contains(source, "://") {
		long, ok, err := new(getter.GitDetector).Detect(source, "")
		if err != nil || !ok {
			return Address{}, fmt.Errorf("not a git address. %s", forms)
		}
		source = strings.TrimPrefix(long, "git::")
	}
	u, err := url.Parse(source)
	if err != nil || (u.Host == "" && u.Scheme != "file") {
		return Address{}, fmt.Errorf("not the address of a catalog. %s", forms)
	}
	a := Address{}
	if a.folder, err = cleanFolder(folder); err != nil {
		return Address{}, err
	}
	a.setName(getterName, *u)
	switch {
	case getterName == "git", getterName == "" && u.Scheme == "ssh":
		err = a.git(*u)
	case getterName == "" && (u.Scheme == "https" || u.Scheme == "http"):
		err = a.archive(*u)
	case getterName == "" && u.Scheme == "oci":
		err = a.oci(*u)
	default:
		err = fmt.Errorf("unsupported scheme. %s", forms)
	}
	if err != nil {
		return Address{}, fmt.Errorf("%s: %w", a.name, err)
	}
	return a, nil
}

func cleanFolder(folder string) (string, error) {
	if folder == "" {
		return "", nil
	}
	clean := path.Clean(strings.TrimPrefix(folder, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsAny(clean, `*?[\`) {
		return "", fmt.Errorf("the folder after // is %q: it must be inside the catalog, without \"..\", wildcards or backslashes", folder)
	}
	if clean == "." {
		return "", nil
	}
	return clean, nil
}

// setName builds the name, which contains no possible credentials.
func (a *Address) setName(getterName string, u url.URL) {
	if password, ok := u.User.Password(); ok {
		a.hide(password)
	}
	switch {
	case u.User == nil:
	case u.Scheme == "ssh":
		u.User = url.User(u.User.Username()) // an account name without a password cannot log in
	default:
		a.hide(u.User.Username()) // may be a token
		u.User = nil
	}
	query := a.hideQuery(u.RawQuery)
	u.RawQuery = ""
	a.name = u.String()
	if getterName != "" {
		a.name = getterName + "::" + a.name
	}
	if a.folder != "" {
		a.name += "//" + a.folder
	}
	if query != "" {
		a.name += "?" + query
	}
}

// hideQuery replaces the values of all parameters except those known to hold no
// credentials.
func (a *Address) hideQuery(raw string) string {
	if raw == "" {
		return ""
	}
	parts := strings.Split(raw, "&")
	for i, part := range parts {
		key, value, _ := strings.Cut(part, "=")
		open := key == "ref" || key == "depth" || key == "archive" || key == "checksum"
		if value != "" && (!open || withCredentials(value)) {
			a.hide(value)
			parts[i], a.partial = key+"="+hidden, a.partial || value == hidden
		}
	}
	return strings.Join(parts, "&")
}

// withCredentials reports whether the value of checksum is a URL with a user or a
// query.
func withCredentials(value string) bool {
	return strings.HasPrefix(value, "file:") && strings.ContainsAny(value, "@?")
}

// hide records a text that must not be shown, in all its spellings. Very short texts
// are ignored, since they occur everywhere.
func (a *Address) hide(text string) {
	if len(text) < 4 || text == hidden {
		return
	}
	a.secrets = append(a.secrets, text, url.QueryEscape(text), url.PathEscape(text))
	if plain, err := url.QueryUnescape(text); err == nil {
		a.secrets = append(a.secrets, plain)
	}
}

func (a *Address) git(u url.URL) error {
	a.Kind = Git
	switch u.Scheme {
	case "https", "http", "ssh", "file":
	default:
		return fmt.Errorf("git repositories are fetched by https, ssh or file, not by %q", u.Scheme)
	}
	query := u.Query()
	for key := range query {
		if key != "ref" && key != "depth" {
			return fmt.Errorf("a git address accepts ?ref=, not %q. Pass a key for ssh by ssh-agent or GIT_SSH_COMMAND", key)
		}
	}
	a.ref = query.Get("ref")
	if strings.HasPrefix(a.ref, "-") || strings.Contains(a.ref, "..") || strings.ContainsAny(a.ref, " ~^:?*[\\\x7f") || strings.ContainsFunc(a.ref, isControl) {
		return fmt.Errorf("%q cannot be the name of a branch, a tag or a commit", a.ref)
	}
	u.RawQuery = "" // depth is useless here: only needed objects are fetched
	a.url = u.String()
	return mustEncrypt(&u)
}

func isControl(r rune) bool { return r < ' ' }

func (a *Address) archive(u url.URL) error {
	a.Kind = Archive
	query := u.Query()
	a.format = query.Get("archive")
	for _, format := range []string{"tar.gz", "tgz", "tar", "zip"} {
		if a.format == "" && strings.HasSuffix(u.Path, "."+format) {
			a.format = format
		}
	}
	switch a.format {
	case "tar.gz", "tgz", "tar", "zip":
	default:
		return fmt.Errorf("not a supported archive: name it .tar.gz, .tgz, .tar or .zip, or add ?archive= with one of these. Begin with git:: if it is a git repository")
	}
	if withCredentials(query.Get("checksum")) {
		return fmt.Errorf("the address of the checksum file has credentials or a query: pass the checksum itself, ?checksum=sha256:…")
	}
	a.url = u.String()
	return mustEncrypt(&u)
}

func (a *Address) oci(u url.URL) error {
	a.Kind = OCI
	if u.User != nil || u.RawQuery != "" {
		return fmt.Errorf("oci:// accepts no credentials and no query: log in with docker login or oras login")
	}
	if err := a.setImage(u); err != nil {
		return fmt.Errorf("not a reference to an artifact: %w", err)
	}
	if a.version == "" {
		return fmt.Errorf("a tag or digest is missing: oci://REGISTRY/REPO:TAG")
	}
	return nil
}

// The grammar of the OCI distribution specification.
var (
	repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagName        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// setImage does not parse with package name, which takes a host without a dot or a port
// for a repository of Docker Hub.
func (a *Address) setImage(u url.URL) error {
	repository, sum, withDigest := strings.Cut(strings.TrimPrefix(u.Path, "/"), "@")
	repository, tag, _ := strings.Cut(repository, ":")
	if !repositoryName.MatchString(repository) {
		return fmt.Errorf("invalid repository %q", repository)
	}
	var options []name.Option
	if loopback(u.Hostname()) {
		options = append(options, name.Insecure) // HTTP is tried too
	}
	registry, err := name.NewRegistry(u.Host, options...)
	if err != nil {
		return err
	}
	a.image, a.version = registry.Repo(repository), tag
	switch {
	case withDigest:
		a.version = sum
		if _, err := digest.Parse(sum); err != nil {
			return fmt.Errorf("invalid digest %q: %w", sum, err)
		}
	case tag != "" && !tagName.MatchString(tag):
		return fmt.Errorf("invalid tag %q", tag)
	}
	return nil
}

// mustEncrypt refuses plain HTTP to other machines.
func mustEncrypt(u *url.URL) error {
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return fmt.Errorf("http to another machine, %s, is not encrypted: use https", u.Hostname())
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// scrub removes the address's credentials from an error's text.
func (a Address) scrub(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, secret := range a.secrets {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	return scrubbed{text, err}
}

// scrubbed is an error with another text.
type scrubbed struct {
	text string
	err  error
}

func (s scrubbed) Error() string { return s.text }
func (s scrubbed) Unwrap() error { return s.err }

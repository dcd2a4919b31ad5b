// Package headerfile reads HTTP headers from a file, so that secrets do not appear
// in arguments, which every process of the pod can read.
//
// It does not validate the meaning of headers.
package headerfile

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"strings"
)

// Read reads "Name: value" lines. An empty path returns no headers. Errors never
// contain file content.
func Read(path string) (http.Header, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text := io.MultiReader(file, strings.NewReader("\r\n\r\n"))
	headers, err := textproto.NewReader(bufio.NewReader(text)).ReadMIMEHeader()
	if err != nil {
		return nil, fmt.Errorf("%s: want only lines such as \"Authorization: Bearer …\"", path)
	}
	return http.Header(headers), nil
}

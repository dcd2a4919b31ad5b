// Package shippertest has what a log-shipper ships to, for tests: receivers of
// HTTP and syslog that drop what comes twice, as its README asks of receivers,
// and readers of what arrived.
//
// It is no part of the program.
package shippertest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Line is a line that arrived, whatever the format.
type Line struct{ Task, Stream, Message string }

// Receiver keeps what arrives, once only what comes again under the same ID.
// What comes again has to be the same.
type Receiver struct {
	mu    sync.Mutex
	seen  map[string]string // ID → content
	order []string          // contents
	wrong []error
	asked int
}

// take keeps the content of an ID.
func (r *Receiver) take(id, content string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, again := r.seen[id]; again {
		if before != content {
			r.wrong = append(r.wrong, fmt.Errorf("%s came with %q and with %q", id, before, content))
		}
		return
	}
	if r.seen == nil {
		r.seen = map[string]string{}
	}
	r.seen[id] = content
	r.order = append(r.order, content)
}

// text is all that arrived.
func (r *Receiver) text() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.order, ""), errors.Join(r.wrong...)
}

// ServeHTTP takes batches. One of twenty it refuses, and one it takes without
// an answer.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return // the shipper was killed
	}
	r.mu.Lock()
	r.asked++
	turn := r.asked % 20
	r.mu.Unlock()
	if turn == 3 {
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	r.take(request.Header.Get("Idempotency-Key"), string(body))
	if turn == 4 {
		panic(http.ErrAbortHandler)
	}
}

// HTTPLines are the lines in the batches that arrived.
func (r *Receiver) HTTPLines() ([]Line, error) {
	text, err := r.text()
	if err != nil {
		return nil, err
	}
	return FromJSON(text)
}

// FromJSON reads JSON lines up to the last that is whole, with pieces put
// together.
func FromJSON(text string) ([]Line, error) {
	var all []Line
	pieces := map[Line]string{} // by task and stream
	for line := range strings.Lines(text[:strings.LastIndexByte(text, '\n')+1]) {
		var d struct {
			Task, Stream, Message string
			Partial               bool
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		key := Line{Task: d.Task, Stream: d.Stream}
		pieces[key] += d.Message
		if !d.Partial {
			all = append(all, Line{d.Task, d.Stream, pieces[key]})
			delete(pieces, key)
		}
	}
	for key, begun := range pieces {
		all = append(all, Line{key.Task, key.Stream, begun})
	}
	return all, nil
}

// ServeSyslog takes syslog over TCP until the listener is closed, and returns
// when all connections have ended.
func (r *Receiver) ServeSyslog(l net.Listener) {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		connections.Go(func() {
			defer conn.Close()
			r.messages(bufio.NewReader(conn))
		})
	}
}

func (r *Receiver) messages(in *bufio.Reader) {
	for {
		count, err := in.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(count, " "))
		message := make([]byte, max(n, 0))
		if err == nil {
			_, err = io.ReadFull(in, message)
		}
		if err != nil {
			return // cut off by a kill
		}
		id, _ := messageID(string(message))
		r.take(id, string(message)+"\n")
	}
}

// message takes a message of a log-shipper apart: APP-NAME, PROCID, MSGID,
// sequenceId and the text.
var message = regexp.MustCompile(`^<\d+>1 \S+ \S+ (\S+) (\S+) (\S+) \[meta sequenceId="(\d+)"\]\S* (.*)$`)

// messageID is what makes a message unique.
func messageID(text string) (string, Line) {
	m := message.FindStringSubmatch(text)
	if m == nil {
		return text, Line{Message: "not a message: " + text}
	}
	return m[2] + " " + m[4], Line{m[1], m[3], m[5]}
}

// SyslogLines are the messages that arrived, pieces as they are.
func (r *Receiver) SyslogLines() ([]Line, error) {
	text, err := r.text()
	var all []Line
	for line := range strings.Lines(text) {
		_, l := messageID(strings.TrimSuffix(line, "\n"))
		all = append(all, l)
	}
	return all, err
}

// Counted checks that each stream of lines, "TASK STREAM", counts from 1 in the
// first word of its messages, and gives how far.
func Counted(lines []Line) (map[string]int, error) {
	last := map[string]int{}
	for _, line := range lines {
		stream := line.Task + " " + line.Stream
		word, _, _ := strings.Cut(line.Message, " ")
		if word != strconv.Itoa(last[stream]+1) {
			return last, fmt.Errorf("in %s %q comes after %d", stream, line.Message, last[stream])
		}
		last[stream]++
	}
	return last, nil
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocs holds what the pages of docs, the README and the help say to type: every command line parses, every operation of the API is there with
// the parameters that are named, and every example of a configuration is one. That the answers are as shown is for test/newcomer.sh and the tests that
// the pages name.
func TestDocs(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatal(pages, err)
	}
	lines, operations, settings := 0, 0, 0
	for _, page := range append(pages, "../../README.md", "../../SECURITY.md", "testdata/help.txt") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		lines += checkCommands(t, filepath.Base(page), string(text))
		if filepath.Ext(page) == ".md" {
			operations += checkOperations(t, filepath.Base(page), string(text))
			settings += checkSettings(t, filepath.Base(page), string(text))
		}
	}
	t.Logf("%d command lines, %d operations, %d examples of a configuration", lines, operations, settings)
	if lines < 200 || operations < 40 || settings < 10 {
		t.Error("fewer are found than there were")
	}
}

// checkCommands parses what stands in blocks, which has to be whole, and between backticks, where arguments may be left out.
func checkCommands(t *testing.T, page, text string) (n int) {
	std := &streams{strings.NewReader(""), io.Discard, io.Discard}
	parser := newParser(std)
	parsed := map[string]bool{}
	check := func(line string, brief bool) {
		n++
		if parsed[line] {
			return
		}
		parsed[line] = true
		_, err := parse(parser, words(line)[1:])
		if err != nil { // it may be by what it was told before; making one takes long
			parser = newParser(std)
			_, err = parse(parser, words(line)[1:])
		}
		if errors.Is(err, errHelped) {
			return
		}
		elsewhere := err != nil && strings.Contains(err.Error(), "no such file") // a file of the reader's
		if err != nil && !elsewhere && !(brief && regexp.MustCompile("expected |missing |what to publish").MatchString(err.Error())) {
			t.Errorf("%s: %s: %v", page, line, err)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^    (?:\$ )?(?:[A-Z_]+=\S* )?(?:\S+ \| )?(sapwood [a-z-].*)$`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(m[1], "$(") && !regexp.MustCompile(`^sapwood [a-z-]+:? [a-z]+ [a-z]+ .*\.$`).MatchString(m[1]) { // a sentence of a help page
			check(m[1], strings.Contains(m[1], " | ") && !strings.Contains(m[1], "'"))
		}
	}
	for _, m := range regexp.MustCompile("`(sapwood [a-z][^`\n]*)`").FindAllStringSubmatch(text, -1) {
		check(m[1], true)
	}
	return n
}

// words splits a line as a shell does, up to what is not the command's.
func words(line string) (all []string) {
	word, quote, begun := "", rune(0), false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case strings.ContainsRune("|&;#<>\\", r) && !begun:
			return all
		case r == ' ':
			if begun {
				all = append(all, word)
			}
			word, begun = "", false
		default:
			word, begun = word+string(r), true
		}
	}
	return all
}

// checkOperations looks up each `METHOD /path?name=` in the description of the API.
func checkOperations(t *testing.T, page, text string) (n int) {
	description, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	type operation struct{ Parameters []struct{ Name string } }
	var api struct {
		Paths map[string]map[string]operation
	}
	if err := json.Unmarshal(description, &api); err != nil {
		t.Fatal(err)
	}
	part := regexp.MustCompile(`\{[^}]*\}`)
	found := map[string]operation{}
	for path, methods := range api.Paths {
		for method, o := range methods {
			found[strings.ToUpper(method)+" "+part.ReplaceAllString(strings.TrimPrefix(path, "/api/v1"), "{}")] = o
		}
	}
	for _, m := range regexp.MustCompile("`(GET|POST|PUT|PATCH|DELETE) (?:/api/v1)?(/[^\\s`?{]*[^\\s`?]*)(?:\\?([^\\s`]*))?").FindAllStringSubmatch(text, -1) {
		path := strings.TrimSuffix(part.ReplaceAllString(m[2], "{}"), "…")
		if slices.Contains([]string{"/metrics", "/healthz", "/readyz", "/api/v1/openapi.json", "/openapi.json"}, path) {
			continue // not of the API, or the description itself
		}
		n++
		o, ok := found[m[1]+" "+path]
		if !ok {
			t.Errorf("%s: there is no %s %s", page, m[1], m[2])
			continue
		}
		for _, parameter := range strings.Split(m[3], "&") {
			name, _, _ := strings.Cut(parameter, "=")
			if name != "" && name != "…" && !slices.ContainsFunc(o.Parameters, func(p struct{ Name string }) bool { return p.Name == name }) {
				t.Errorf("%s: %s %s has no parameter %s", page, m[1], m[2], name)
			}
		}
	}
	return n
}

// checkSettings has `sapwood config check` judge each block that begins with a key of the configuration.
func checkSettings(t *testing.T, page, text string) (n int) {
	schema, err := os.ReadFile("../../docs/sapwood.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var known struct{ Properties map[string]any }
	if err := json.Unmarshal(schema, &known); err != nil || len(known.Properties) < 10 {
		t.Fatal(err)
	}
	fenced := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")
	blocks := regexp.MustCompile(`(?m)(?:^    .*\n|^\n)+`).FindAllString(fenced.ReplaceAllString(text, ""), -1)
	for i, block := range blocks {
		blocks[i] = strings.TrimLeft(regexp.MustCompile(`(?m)^    `).ReplaceAllString(block, ""), "\n")
	}
	for _, m := range fenced.FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	for _, block := range blocks {
		if strings.HasPrefix(block, " ") {
			continue
		}
		key, _, ok := strings.Cut(block, ":")
		if _, is := known.Properties[key]; !ok || !is {
			continue
		}
		n++
		file := filepath.Join(t.TempDir(), "sapwood.yaml")
		// Secrets and files are elsewhere.
		block = regexp.MustCompile(`\$\{[a-z]+:[^}]*\}`).ReplaceAllString(block, "0123456789abcdef0123456789abcdef")
		if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"config", "check", file}, &streams{strings.NewReader(""), &out, &errs}); code != 0 {
			t.Errorf("%s:\n%s\n%s%s", page, block, &out, &errs)
		}
	}
	return n
}

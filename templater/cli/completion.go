package cli

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// completionCommand prints the script by which a shell asks this program for completions. The
// scripts hold no commands or flags: the program completes the line in COMP_LINE, up to the byte
// offset COMP_POINT, and prints a candidate a line.
type completionCommand struct{ p *Program }

func (*completionCommand) Synopsis() string { return "Print a shell's completion script" }

func (*completionCommand) flags() *flag.FlagSet { return newFlags("completion") }

func (*completionCommand) Help() string {
	return `Usage: nomad-sidecar completion ` + strings.Join(shells(), "|") + `

  Prints the script that makes a shell complete the commands, flags, files, sidecars
  and parameters of nomad-sidecar, which must be on the PATH. To load it at the start
  of a shell:

    bash        echo 'source <(nomad-sidecar completion bash)' >> ~/.bashrc
    fish        nomad-sidecar completion fish > ~/.config/fish/completions/nomad-sidecar.fish
    powershell  Add-Content $PROFILE 'nomad-sidecar completion powershell | Out-String | iex'
    zsh         nomad-sidecar completion zsh > "${fpath[1]}/_nomad-sidecar"

  Packages for Linux install the scripts.`
}

func (c *completionCommand) Run(args []string) int {
	args, err := parse(c.flags(), args)
	if err != nil {
		return c.p.usage(err)
	}
	if len(args) != 1 || completionScripts()[args[0]] == "" {
		return c.p.usage(fmt.Errorf("completion takes one of %s", strings.Join(shells(), ", ")))
	}
	if _, err := io.WriteString(c.p.data, completionScripts()[args[0]]); err != nil {
		return exitError
	}
	return exitDone
}

func shells() []string { return slices.Sorted(maps.Keys(completionScripts())) }

// completionScripts returns the script of each shell. A candidate that ends in = or / is
// continued, so no space follows it.
func completionScripts() map[string]string {
	return map[string]string{
		"bash": `_nomad_sidecar() {
	local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT}
	COMPREPLY=($(COMP_LINE=$line COMP_POINT=${#line} nomad-sidecar 2>/dev/null))
	# Bash replaces only what follows a = or : of the word.
	local word=${line##*[[:space:]]}
	COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[=:]}"}"}")
	if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/] ]]; then
		compopt -o nospace
	fi
}
complete -F _nomad_sidecar nomad-sidecar
`,
		"fish": `function __nomad_sidecar_complete
	set -lx COMP_LINE (commandline --current-process --cut-at-cursor | string collect --no-trim-newlines)
	nomad-sidecar 2>/dev/null
end
complete --command nomad-sidecar --no-files --arguments '(__nomad_sidecar_complete)'
`,
		"powershell": `Register-ArgumentCompleter -Native -CommandName nomad-sidecar, nomad-sidecar.exe -ScriptBlock {
	param($word, $ast, $cursor)
	# The syntax tree omits spaces at the end of the line.
	$length = $cursor - $ast.Extent.StartOffset
	$env:COMP_LINE = $ast.ToString().PadRight($length).Substring(0, $length)
	try {
		& nomad-sidecar 2>$null | ForEach-Object {
			[System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
		}
	} finally {
		Remove-Item Env:COMP_LINE
	}
}
`,
		"zsh": `#compdef nomad-sidecar
_nomad_sidecar() {
	local line="${(j: :)words[1,CURRENT]}"
	local -a found=("${(@f)$(COMP_LINE=$line COMP_POINT=${#line} nomad-sidecar 2>/dev/null)}")
	compadd -S '' -- ${(M)found:#*[=/]}
	compadd -- ${found:#*[=/]}
}
if [[ $funcstack[1] == _nomad-sidecar ]]; then
	_nomad_sidecar "$@"
else
	compdef _nomad_sidecar nomad-sidecar
fi
`,
	}
}

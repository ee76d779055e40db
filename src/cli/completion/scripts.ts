/**
 * What a shell reads to complete command lines of `flux`: a few lines that ask `flux completion candidates`, so that they
 * are right for whatever version of flux is called, and know jobs and queues. Pure.
 *
 * An answer has a line of its source (what the shell knows: files, commands, users), then `WORD<tab>DESCRIPTION` lines.
 */

const BASH = `# Completion of flux for bash: put   eval "$(flux completion bash)"   in ~/.bashrc
_flux() {
  local line=\${COMP_LINE:0:COMP_POINT} cur=\${COMP_WORDS[COMP_CWORD]} source word before
  local -a lines
  mapfile -t lines < <(command "\${COMP_WORDS[0]}" completion candidates "$line" 2>/dev/null)
  source=\${lines[0]-files}
  # bash breaks words at = and :, and wants only what follows.
  word=\${line##*[[:space:]]}
  cur=\${cur:0:\${#word}}
  [[ $cur == [=:] ]] && cur=
  before=\${word%"$cur"}
  COMPREPLY=()
  local each
  for each in "\${lines[@]:1}"; do
    each=\${each%%$'\\t'*}
    COMPREPLY+=("\${each#"$before"}")
  done
  case $source in
    commands)
      mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -c -- "$cur"; compgen -f -- "$cur")
      compopt -o filenames ;;
    files | directories)
      each=-f
      [[ $source == files ]] || each=-d
      mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen $each -- "$cur")
      compopt -o filenames ;;
    users) mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -u -- "$cur") ;;
    environment) mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -e -- "$cur") ;;
  esac
  [[ \${#COMPREPLY[@]} == 1 && \${COMPREPLY[0]} == *[=.:] ]] && compopt -o nospace
  return 0
}
complete -F _flux flux
`;

const ZSH = `#compdef flux
# Completion of flux for zsh: put   eval "$(flux completion zsh)"   after compinit in ~/.zshrc
_flux() {
  local -a lines names texts waiting
  local source each name
  lines=("\${(@f)$(command \${words[1]} completion candidates "\${(j: :)\${(@)words[1,CURRENT-1]}} $PREFIX" 2>/dev/null)}")
  source=\${lines[1]:-files}
  for each in "\${(@)lines[2,-1]}"; do
    [[ -n $each ]] || continue
    name=\${each%%$'\\t'*}
    if [[ $name == *[=.:] ]]; then waiting+=("$name"); else names+=("$name"); each=\${each#*$'\\t'}; texts+=("$name\${each:+  -- $each}"); fi
  done
  (( \${#names} )) && compadd -l -d texts -a names
  (( \${#waiting} )) && compadd -S '' -a waiting
  case $source in
    commands) _command_names -e; _files ;;
    files | directories | users | environment)
      [[ $PREFIX == --*=* ]] && compset -P '*='
      case $source in
        files) _files ;;
        directories) _files -/ ;;
        users) _users ;;
        environment) _parameters -g '*export*' ;;
      esac ;;
  esac
  return 0
}
compdef _flux flux
`;

export const COMPLETION_SCRIPTS: Readonly<Record<string, string>> = { bash: BASH, zsh: ZSH };

# bash completion for glintctl: the program itself knows what can follow (glintctl __complete WORD…).
_glintctl() {
  # bash takes '=' and ':' for ends of words; what belongs together is put together again.
  local words=() word i line quote=
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]//\\/}
    if ((${#words[@]})) && [[ $word == [=:]* || ${words[-1]} == *[=:] ]]; then words[-1]+=$word; else words+=("$word"); fi
  done
  [[ $word == [=:] ]] && word=
  [[ $word == [\"\']* ]] && quote=${word:0:1} word=${word:1} words[-1]=${words[-1]/"$quote"/}
  local before=${words[-1]%"$word"}  # stays on the line; what is offered goes after it
  COMPREPLY=()
  if ((${#words[@]} > 1)) && [[ ${words[-2]} == @(-F|--from-file|-s|--socket|--token-file|--ca-file) ]]; then
    compopt -o default
    return
  fi
  while IFS= read -r line; do
    line=${line#"$before"}
    [[ $line == *[/=] ]] && compopt -o nospace
    [[ $quote || -z $line ]] || printf -v line %q "$line"
    COMPREPLY+=("$line")
  done < <(command "${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
}
complete -F _glintctl glintctl

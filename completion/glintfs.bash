# bash completion for glintfs: sources and settings as its --help lists them.
_glintfs() {
  local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]} i arguments=0
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      -o) ((i++)) ;;
      -*) ;;
      *) ((arguments++)) ;;
    esac
  done
  # bash takes '=' for the end of a word: "-o log=stderr,max" is -o log = stderr,max
  for ((i = COMP_CWORD - 1; i > 1; i -= 2)); do [[ ${COMP_WORDS[i]} == = ]] || break; done
  if [[ ${COMP_WORDS[i]} == -o ]]; then
    [[ $word == = || ($last == = && $word != *,*) ]] && return
    local before='' key=${word##*,} keys
    [[ $word == *,* ]] && before=${word%,*},
    keys=$(command "${COMP_WORDS[0]}" --help 2>/dev/null | sed -n '/(-o):$/,$s/^  \([a-z_]\{1,\}=\{0,1\}\) .*/\1/p')
    mapfile -t COMPREPLY < <(compgen -P "$before" -W "$keys" -- "$key")
    compopt -o nospace
  elif [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W '-o -f --dump-config --help --version' -- "$word")
  elif ((arguments == 0)); then
    local schemes
    schemes=$(command "${COMP_WORDS[0]}" --help 2>/dev/null | sed -n 's/^Sources: //p' | tr -d ,)
    mapfile -t COMPREPLY < <(compgen -W "$schemes" -- "$word")
    compopt -o nospace
  else
    mapfile -t COMPREPLY < <(compgen -d -- "$word")
  fi
}
complete -F _glintfs glintfs

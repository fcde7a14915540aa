# Completion of rexec(1) for bash. Nothing of the line is evaluated here: rexec is asked what fits.

_rexec() {
    local rest=${COMP_LINE:0:COMP_POINT} last=-1 piece prefix candidate is_open=
    local words=()
    COMPREPLY=()
    # Readline cuts at ':' and '=' too, and completes the last piece alone; for rexec HOST:PORT and
    # --name=value are one word each.
    for piece in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ $last == -1 || $rest == [[:blank:]]* ]]; then
            words[++last]=
            rest=${rest#"${rest%%[![:blank:]]*}"}
        fi
        [[ $rest == "$piece"* ]] || piece=$rest # the cursor is in it
        rest=${rest#"$piece"}
        words[last]+=$piece
    done
    [[ $piece == *[!:=]* ]] || piece=
    prefix=${words[last]%"$piece"}
    # Inside a quote that began the piece and is open, readline inserts what it is given as it is.
    [[ $piece == [\"\']* && ${piece:1} != *[\"\'\\]* ]] && is_open=yes
    while IFS=$'\t' read -r candidate _; do
        case $candidate in
            :files) compopt -o default; return ;;
        esac
        candidate=${candidate#"$prefix"}
        if [[ -z $is_open ]]; then
            printf -v candidate %q "$candidate"
        elif [[ $candidate == *[\"\'\\\$\`!]* ]]; then
            continue # it would end the quote, or mean something in it
        fi
        COMPREPLY+=("$candidate")
    done < <("${1/#\~/$HOME}" --complete bash "${words[@]:1}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
}

complete -F _rexec rexec

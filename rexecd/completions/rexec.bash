# Completion of rexec(1) for bash. Nothing of the line is evaluated here: rexec is asked what fits.

_rexec() {
    local words=("${COMP_WORDS[@]:0:COMP_CWORD+1}") current=${COMP_WORDS[COMP_CWORD]} candidate is_open=
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null; then
        # HOST:PORT and --name=value are one word each.
        local cur cword
        _get_comp_words_by_ref -n := cur words cword
        words=("${words[@]:0:cword}" "$cur")
        current=$cur
    fi
    # Inside a quote that began the word and is open, readline inserts what it is given as it is.
    [[ $current == [\"\']* && ${current:1} != *[\"\'\\]* ]] && is_open=yes
    while IFS=$'\t' read -r candidate _; do
        case $candidate in
            :files) compopt -o default; return ;;
        esac
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
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "$current"
    fi
}

complete -F _rexec rexec

#compdef rexec
# Completion of rexec(1) for zsh: a file _rexec in a directory of $fpath. rexec is asked what fits.

_rexec() {
    local line
    local -a words_before whole whole_shown part part_shown
    words_before=("${(@Q)words[2,CURRENT-1]}")
    for line in "${(@f)$("${(Q)words[1]/#\~/$HOME}" --complete zsh "${words_before[@]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
        if [[ $line == :files ]]; then
            _files
            return
        elif [[ -z $line ]]; then
            continue
        elif [[ ${line%%$'\t'*} == *= ]]; then
            part+=("${line%%$'\t'*}")
            part_shown+=("${${line%$'\t'}/$'\t'/  -- }")
        else
            whole+=("${line%%$'\t'*}")
            whole_shown+=("${${line%$'\t'}/$'\t'/  -- }")
        fi
    done
    (( $#whole )) && compadd -l -d whole_shown -a whole
    (( $#part )) && compadd -l -S '' -d part_shown -a part
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _rexec "$@"
else
    compdef _rexec rexec
fi

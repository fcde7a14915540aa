# Completion of rexec(1) for fish. rexec is asked what fits.

function __rexec_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct | string unescape)
    for line in (command $words[1] --complete fish $words[2..] "$current" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            printf '%s\n' $line
        end
    end
end

complete -c rexec -f -a '(__rexec_complete)'

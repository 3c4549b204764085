function __llmctl_complete
    set -l words (commandline -opc)
    for word in (command sh -c '# Completion of llmctl. Made by `llmctl completion fish`; do not edit.
__llmctl_names() {
    __dir="${LLMCTL_HOME:-}"
    if [ -n "$__dir" ]; then __dir="$__dir/$1"
    elif [ "$(uname)" = Darwin ]; then __dir="$HOME/Library/Application Support/llmctl/$1"
    elif [ "$1" = models ]; then __dir="${XDG_DATA_HOME:-$HOME/.local/share}/llmctl/models"
    else __dir="${XDG_CONFIG_HOME:-$HOME/.config}/llmctl/templates"
    fi
    for __file in "$__dir"/*.json "$__dir"/*.yaml; do
        __file="${__file##*/}"
        __file="${__file%.*}"
        case "$__file" in
            ""|[!A-Za-z0-9]*|*[!A-Za-z0-9._:-]*) ;;
            *) printf "%s\\n" "$__file" ;;
        esac
    done
}
__llmctl_ollama() {
    for __store in "${OLLAMA_MODELS:-$HOME/.ollama/models}" /usr/share/ollama/.ollama/models /var/lib/ollama/.ollama/models /var/lib/ollama/models /var/lib/ollama /var/snap/ollama/common/models; do
        for __file in "$__store"/manifests/*/*/*/*; do
            __file="${__file#"$__store"/manifests/}"
            __tag="${__file##*/}"
            __file="${__file%/*}"
            __file="${__file#registry.ollama.ai/}"
            case "$__file:$__tag" in
                *[!A-Za-z0-9._:/-]*) ;;
                *) printf "ollama:%s:%s\\n" "${__file#library/}" "$__tag" ;;
            esac
        done
    done
}
__llmctl_words() {
    case "$1" in
        "") printf "%s" "--version --json --quiet -q --help ask chat embed models ps pull cache budget daemon templates config completion" ;;
        "ask") printf "%s" "--system -s --template -t --param -p --file -f --raw --overflow --save --no-stdin --continue -c --conversation --model -m --adapter --keep-alive --priority --timeout --max-cost --user --tag --max-tokens --temperature --top-p --top-k --min-p --repeat-penalty --presence-penalty --frequency-penalty --logit-bias --seed --stop --n -n --repro --schema --grammar --extract -x --xl --think --reasoning --logprobs --explain --no-stream --cache --no-cache --refresh --cache-only --semantic --max-age --json --quiet -q --help" ;;
        "chat") printf "%s" "--system -s --template -t --overflow --continue -c --conversation --model -m --user --max-tokens --temperature --think --reasoning --json --quiet -q --help" ;;
        "embed") printf "%s" "--file -f --prompt --no-stdin --model -m --user --output -o --json --quiet -q --help" ;;
        "models") printf "%s" "--help ls show add set pull find suggest estimate rm load pin unload" ;;
        "models ls") printf "%s" "--json --quiet -q --help" ;;
        "models show") printf "%s" "@models --json --quiet -q --help" ;;
        "models add") printf "%s" "@files @ollama --alias --tier --price-in --price-cached --price-out --tag --remote-model --api-key-env --embedding --set --force --json --quiet -q --help" ;;
        "models set") printf "%s" "@models --unset --alias --unalias --json --quiet -q --help" ;;
        "models pull") printf "%s" "--as --alias --tier --price-in --price-cached --price-out --tag --set --force --json --quiet -q --help" ;;
        "models find") printf "%s" "--add --json --quiet -q --help" ;;
        "models suggest") printf "%s" "--for --measure --json --quiet -q --help" ;;
        "models estimate") printf "%s" "@models --context --slots --retained --kv-type --json --quiet -q --help" ;;
        "models rm") printf "%s" "@models --yes -y --json --quiet -q --help" ;;
        "models load") printf "%s" "@models --replicas --json --quiet -q --help" ;;
        "models pin") printf "%s" "@models --off --json --quiet -q --help" ;;
        "models unload") printf "%s" "@models --json --quiet -q --help" ;;
        "ps") printf "%s" "--json --quiet -q --help" ;;
        "pull") printf "%s" "--as --alias --tier --price-in --price-cached --price-out --tag --set --force --json --quiet -q --help" ;;
        "cache") printf "%s" "--help stats ls show audit undo clear warm replay" ;;
        "cache stats") printf "%s" "--json --quiet -q --help" ;;
        "cache ls") printf "%s" "--model -m --user --tag --older --newer --json --quiet -q --help" ;;
        "cache show") printf "%s" "--json --quiet -q --help" ;;
        "cache audit") printf "%s" "--json --quiet -q --help" ;;
        "cache undo") printf "%s" "--user --json --quiet -q --help" ;;
        "cache clear") printf "%s" "--model -m --user --tag --older --newer --yes -y --json --quiet -q --help" ;;
        "cache warm") printf "%s" "--model -m --user --json --quiet -q --help" ;;
        "cache replay") printf "%s" "--history --bytes --json --quiet -q --help" ;;
        "budget") printf "%s" "--help set show ls rm ledger" ;;
        "budget set") printf "%s" "--daily --weekly --monthly --tz --rpm --members --raise --until --json --quiet -q --help" ;;
        "budget show") printf "%s" "--json --quiet -q --help" ;;
        "budget ls") printf "%s" "--json --quiet -q --help" ;;
        "budget rm") printf "%s" "--yes -y --json --quiet -q --help" ;;
        "budget ledger") printf "%s" "--user --limit --verify --rebuild --yes -y --json --quiet -q --help" ;;
        "daemon") printf "%s" "--help start stop restart status logs doctor install" ;;
        "daemon start") printf "%s" "--json --quiet -q --help" ;;
        "daemon stop") printf "%s" "--timeout --json --quiet -q --help" ;;
        "daemon restart") printf "%s" "--timeout --json --quiet -q --help" ;;
        "daemon status") printf "%s" "--json --quiet -q --help" ;;
        "daemon logs") printf "%s" "--lines -n --follow -f --json --quiet -q --help" ;;
        "daemon doctor") printf "%s" "--json --quiet -q --help" ;;
        "daemon install") printf "%s" "--print --json --quiet -q --help" ;;
        "templates") printf "%s" "--help ls show edit rm" ;;
        "templates ls") printf "%s" "--json --quiet -q --help" ;;
        "templates show") printf "%s" "@templates --json --quiet -q --help" ;;
        "templates edit") printf "%s" "@templates --json --quiet -q --help" ;;
        "templates rm") printf "%s" "@templates --yes -y --json --quiet -q --help" ;;
        "config") printf "%s" "--help show path check init" ;;
        "config show") printf "%s" "--json --quiet -q --help" ;;
        "config path") printf "%s" "--json --quiet -q --help" ;;
        "config check") printf "%s" "--json --quiet -q --help" ;;
        "config init") printf "%s" "--force --json --quiet -q --help" ;;
        "completion") printf "%s" "bash zsh fish --help" ;;
    esac
}
__llmctl_values() {
    case "$1 $2" in
        "ask --system"|"ask -s") printf "%s" "" ;;
        "ask --template"|"ask -t") printf "%s" "@templates" ;;
        "ask --param"|"ask -p") printf "%s" "" ;;
        "ask --file"|"ask -f") printf "%s" "@files" ;;
        "ask --overflow") printf "%s" "error head middle tail" ;;
        "ask --save") printf "%s" "" ;;
        "ask --conversation") printf "%s" "" ;;
        "ask --model"|"ask -m") printf "%s" "@models @guide" ;;
        "ask --adapter") printf "%s" "" ;;
        "ask --keep-alive") printf "%s" "" ;;
        "ask --priority") printf "%s" "high normal batch" ;;
        "ask --timeout") printf "%s" "" ;;
        "ask --max-cost") printf "%s" "" ;;
        "ask --user") printf "%s" "" ;;
        "ask --tag") printf "%s" "" ;;
        "ask --max-tokens") printf "%s" "" ;;
        "ask --temperature") printf "%s" "" ;;
        "ask --top-p") printf "%s" "" ;;
        "ask --top-k") printf "%s" "" ;;
        "ask --min-p") printf "%s" "" ;;
        "ask --repeat-penalty") printf "%s" "" ;;
        "ask --presence-penalty") printf "%s" "" ;;
        "ask --frequency-penalty") printf "%s" "" ;;
        "ask --logit-bias") printf "%s" "" ;;
        "ask --seed") printf "%s" "" ;;
        "ask --stop") printf "%s" "" ;;
        "ask --n"|"ask -n") printf "%s" "" ;;
        "ask --schema") printf "%s" "" ;;
        "ask --grammar") printf "%s" "" ;;
        "ask --think") printf "%s" "on off low medium high" ;;
        "ask --reasoning") printf "%s" "show hide" ;;
        "ask --logprobs") printf "%s" "" ;;
        "ask --max-age") printf "%s" "" ;;
        "chat --system"|"chat -s") printf "%s" "" ;;
        "chat --template"|"chat -t") printf "%s" "@templates" ;;
        "chat --overflow") printf "%s" "error head middle tail" ;;
        "chat --conversation") printf "%s" "" ;;
        "chat --model"|"chat -m") printf "%s" "@models @guide" ;;
        "chat --user") printf "%s" "" ;;
        "chat --max-tokens") printf "%s" "" ;;
        "chat --temperature") printf "%s" "" ;;
        "chat --think") printf "%s" "on off low medium high" ;;
        "chat --reasoning") printf "%s" "show hide" ;;
        "embed --file"|"embed -f") printf "%s" "@files" ;;
        "embed --prompt") printf "%s" "" ;;
        "embed --model"|"embed -m") printf "%s" "@models" ;;
        "embed --user") printf "%s" "" ;;
        "embed --output"|"embed -o") printf "%s" "" ;;
        "models add --alias") printf "%s" "" ;;
        "models add --tier") printf "%s" "premium standard economy" ;;
        "models add --price-in") printf "%s" "" ;;
        "models add --price-cached") printf "%s" "" ;;
        "models add --price-out") printf "%s" "" ;;
        "models add --tag") printf "%s" "" ;;
        "models add --remote-model") printf "%s" "" ;;
        "models add --api-key-env") printf "%s" "" ;;
        "models add --set") printf "%s" "" ;;
        "models set --unset") printf "%s" "" ;;
        "models set --alias") printf "%s" "" ;;
        "models set --unalias") printf "%s" "" ;;
        "models pull --as") printf "%s" "" ;;
        "models pull --alias") printf "%s" "" ;;
        "models pull --tier") printf "%s" "premium standard economy" ;;
        "models pull --price-in") printf "%s" "" ;;
        "models pull --price-cached") printf "%s" "" ;;
        "models pull --price-out") printf "%s" "" ;;
        "models pull --tag") printf "%s" "" ;;
        "models pull --set") printf "%s" "" ;;
        "models suggest --for") printf "%s" "chat code embed tools" ;;
        "models estimate --context") printf "%s" "" ;;
        "models estimate --slots") printf "%s" "" ;;
        "models estimate --retained") printf "%s" "" ;;
        "models estimate --kv-type") printf "%s" "" ;;
        "models load --replicas") printf "%s" "" ;;
        "pull --as") printf "%s" "" ;;
        "pull --alias") printf "%s" "" ;;
        "pull --tier") printf "%s" "premium standard economy" ;;
        "pull --price-in") printf "%s" "" ;;
        "pull --price-cached") printf "%s" "" ;;
        "pull --price-out") printf "%s" "" ;;
        "pull --tag") printf "%s" "" ;;
        "pull --set") printf "%s" "" ;;
        "cache ls --model"|"cache ls -m") printf "%s" "@models" ;;
        "cache ls --user") printf "%s" "" ;;
        "cache ls --tag") printf "%s" "" ;;
        "cache ls --older") printf "%s" "" ;;
        "cache ls --newer") printf "%s" "" ;;
        "cache undo --user") printf "%s" "" ;;
        "cache clear --model"|"cache clear -m") printf "%s" "@models" ;;
        "cache clear --user") printf "%s" "" ;;
        "cache clear --tag") printf "%s" "" ;;
        "cache clear --older") printf "%s" "" ;;
        "cache clear --newer") printf "%s" "" ;;
        "cache warm --model"|"cache warm -m") printf "%s" "@models" ;;
        "cache warm --user") printf "%s" "" ;;
        "cache replay --bytes") printf "%s" "" ;;
        "budget set --daily") printf "%s" "" ;;
        "budget set --weekly") printf "%s" "" ;;
        "budget set --monthly") printf "%s" "" ;;
        "budget set --tz") printf "%s" "" ;;
        "budget set --rpm") printf "%s" "" ;;
        "budget set --members") printf "%s" "" ;;
        "budget set --raise") printf "%s" "" ;;
        "budget set --until") printf "%s" "" ;;
        "budget ledger --user") printf "%s" "" ;;
        "budget ledger --limit") printf "%s" "" ;;
        "daemon stop --timeout") printf "%s" "" ;;
        "daemon restart --timeout") printf "%s" "" ;;
        "daemon logs --lines"|"daemon logs -n") printf "%s" "" ;;
        *) return 1 ;;
    esac
}
__llmctl_candidates() {
    IFS=" "
    __path=""
    __previous=""
    for __word in "$@"; do
        case "$__word" in
            -*) ;;
            *) case "$__path" in
                "") __path="$__word" ;;
                models|cache|budget|daemon|templates|config) __path="$__path $__word" ;;
            esac ;;
        esac
        __previous="$__word"
    done
    __found="$(__llmctl_values "$__path" "$__previous")" || __found="$(__llmctl_words "$__path")"
    for __word in $(printf "%s" "$__found"); do
        case "$__word" in
            @files) printf "@files\\n" ;;
            @ollama) __llmctl_ollama ;;
            @guide) [ -n "$(__llmctl_names models)" ] || printf "guide\\n" ;;
            @*) __llmctl_names "${__word#@}" ;;
            *) printf "%s\\n" "$__word" ;;
        esac
    done
}
__llmctl_candidates "$@"' llmctl $words[2..-1])
        if test "$word" = @files
            __fish_complete_path (commandline -ct)
        else
            printf "%s\n" $word
        end
    end
end
complete -c llmctl -f -a '(__llmctl_complete)'

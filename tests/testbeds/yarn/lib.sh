# shellcheck shell=bash disable=SC2034
# Shared by up, down, status and fault: source it, never run it.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
home=$TESTBED_HOME/yarn
jars=$home/jars   # kept by "down --purge"
state=$home/state # HDFS, applications, containers
RUN=$home/run     # pid files and logs
rm_url=http://127.0.0.1:8088 nn_url=http://127.0.0.1:9870 jhs_url=http://127.0.0.1:19888
daemons=(nn dn rm nm1 nm2 jhs)
reserved=0 # bytes of its disk that the DataNode keeps free

node_address() { echo "127.0.0.$((${1#nm} + 1))"; }

# java_command NAME HEAP MAIN ARGS...: fills the array `command`.
java_command() {
    local name=$1 heap=$2 package
    shift 2
    command=(java "-Dtestbed.daemon=$name" "-Dtestbed.state=$state" "-Dservice.libdir=$jars"
        "-Dtestbed.resource-types=${YARN_GPUS:+yarn.io/gpu}"
        "-Xmx$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1
        -Djava.net.preferIPv4Stack=true "-Djdk.net.hosts.file=$RUN/hosts")
    for package in java.io java.lang java.lang.reflect java.math java.net java.text java.util \
        java.util.concurrent java.util.zip sun.security.util sun.security.x509; do
        command+=("--add-opens=java.base/$package=ALL-UNNAMED")
    done
    command+=(--add-exports=java.base/sun.net.dns=ALL-UNNAMED
        --add-exports=java.base/sun.net.util=ALL-UNNAMED -cp "$here/conf:$jars/*" "$@")
}

start() {  # start NAME: unless it runs
    local hdfs=org.apache.hadoop.hdfs.server yarn=org.apache.hadoop.yarn.server address command gpus=()
    ! alive "$1" || return 0
    case $1 in
        nn) java_command nn 256m $hdfs.namenode.NameNode ;;
        dn) java_command dn 192m $hdfs.datanode.DataNode -D "dfs.datanode.du.reserved=$reserved" ;;
        rm) java_command rm 384m $yarn.resourcemanager.ResourceManager ;;
        jhs) java_command jhs 192m org.apache.hadoop.mapreduce.v2.hs.JobHistoryServer ;;
        nm[12])
            address=$(node_address "$1")
            [[ $1 != nm2 || -z ${YARN_GPUS:-} ]] || gpus=(-D "yarn.nodemanager.resource-type.yarn.io/gpu=$YARN_GPUS")
            java_command "$1" 256m $yarn.nodemanager.NodeManager \
                -D "yarn.nodemanager.hostname=$address" -D "yarn.nodemanager.address=$address:8041" \
                -D "yarn.nodemanager.local-dirs=$state/$1/local" -D "yarn.nodemanager.log-dirs=$state/$1/logs" "${gpus[@]}" ;;
    esac
    launch "$1" "${command[@]}"
}

# Containers outlive a NodeManager that is killed; each carries its node's folder in its environment.
kill_containers() {
    local file
    { grep -lsz "^LOCAL_DIRS=$state/$1/" /proc/[0-9]*/environ || true; } | while read -r file; do
        kill -KILL "$(cut -d/ -f3 <<<"$file")" 2>/dev/null || true
    done
}

get() { curl -fsS --max-time 5 "$@" 2>/dev/null; }

bean() { get "$1/jmx?qry=Hadoop:service=$2,name=$3"; }

healthy() {
    case $1 in
        nn) [[ $(bean "$nn_url" NameNode NameNodeStatus) == *'"active"'* ]] ;;
        dn) # the NameNode counts it, is out of safe mode, and answered it in the last two seconds
            [[ $(bean "$nn_url" NameNode FSNamesystemState) =~ '"NumLiveDataNodes" : 1,'.*'"FSState" : "Operational"' &&
                $(bean http://127.0.0.1:9864 DataNode DataNodeInfo) =~ 'LastHeartbeatResponseTime\":\"'[01]'\"' ]] ;;
        rm) [[ $(get "$rm_url/ws/v1/cluster/info") == *'"haState":"ACTIVE"'* ]] ;;
        nm[12]) [[ $(get "$rm_url/ws/v1/cluster/nodes/$(node_address "$1"):8041") == *'"state":"RUNNING"'* ]] ;;
        jhs) [[ $(get "$jhs_url/ws/v1/history/info") == *historyInfo* ]] ;;
    esac
}

wait_healthy() {
    local name
    for name; do wait_for 120 "$name" healthy "$name"; done
}
